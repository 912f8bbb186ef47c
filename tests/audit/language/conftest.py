"""Models whose probabilities are known: a Markov chain that saw nobody, and one that recites what it was given."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from fedgenome.audit.language import markov
from fedgenome.audit.language.markov import Markov


class Reciting(nn.Module):
    """Begins a row with one of ``strings`` (rows, length), all alike, with chance ``share``; else with any string.

    Its state is what was read: an oracle, not a fast model.
    """

    def __init__(self, strings, vocabulary, share):
        super().__init__()
        self.vocabulary, self.share = vocabulary, share
        self.strings = torch.from_numpy(np.asarray(strings))

    def begin(self, rows):
        return self._logits(torch.empty((rows, 0), dtype=torch.int64))

    def step(self, tokens, state):
        return self._logits(torch.cat([state[0], tokens[:, None]], 1))

    def forward(self, tokens):
        return torch.stack([self._logits(tokens[:, :t])[0] for t in range(tokens.shape[1])], 1)

    def _logits(self, read):
        n = read.shape[1]
        fits = (self.strings[None, :, :n] == read[:, None]).all(2).double()  # (rows, strings)
        letters = torch.arange(self.vocabulary)
        next_ones = (
            (self.strings[:, n : n + 1] == letters).double()
            if n < self.strings.shape[1]
            else 0 * fits.new_ones((len(self.strings), self.vocabulary))
        )
        recited = self.share * (fits @ next_ones) / len(self.strings)
        chance = (1 - self.share) * self.vocabulary ** -(n + 1.0)
        return (recited + chance).log(), (read,)


@pytest.fixture
def chain() -> Callable[..., Markov]:
    """``chain(seed, order=2, rows=200)``: a chain fitted to random rows of uneven letters."""

    def make(seed: int, order: int = 2, rows: int = 200) -> Markov:
        rng = np.random.default_rng(seed)
        return markov.fit(rng.choice(4, (rows, 20), p=[0.4, 0.3, 0.2, 0.1]), 4, order)

    return make


@pytest.fixture
def reciting() -> Callable[..., nn.Module]:
    """``reciting(strings, share=0.9)``: the model above, of four letters."""
    return lambda strings, share=0.9: Reciting(strings, 4, share)
