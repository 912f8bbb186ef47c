"""A Markov chain of tokens, fitted to public sequences: what short-range habits alone say of a sequence.

It is the law of canaries that look like the data, the reference that perplexities are compared with, and a model that
certainly never saw a member. It is a causal language model like any other, in float64.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from fedgenome.audit.language.steps import walked
from fedgenome.errors import require
from fedgenome.models.language.base import State
from fedgenome.query import Array

PSEUDO = 0.5  # added to every count: Krichevsky and Trofimov's estimator
_MOST = 1 << 22  # contexts × tokens: 32 MiB of float64


class Markov(nn.Module):
    """Tokens of which each depends on the ``order`` before it, or on fewer at the start and after an unknown one.

    Attributes:
        vocabulary: V.
        order: k.
        log_p: log-probability of each token after each context, float64 (contexts, V). Contexts are the strings of
            up to k tokens: the empty one first, then in order of length and code.
    """

    log_p: Tensor
    following: Tensor

    def __init__(self, log_p: Tensor, order: int) -> None:
        super().__init__()
        self.vocabulary = int(log_p.shape[1])
        self.order = order
        starts = _starts(self.vocabulary, order)
        require(len(log_p) == starts[-1], f"{starts[-1]} contexts of order {order}", contexts=len(log_p))
        self.register_buffer("log_p", log_p)
        self.register_buffer("following", torch.from_numpy(_following(self.vocabulary, order)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (rows, length, V), which are log-probabilities."""
        return walked(self, tokens)

    def begin(self, rows: int) -> tuple[Tensor, State]:
        """Return the logits of the first token, (rows, V), and the empty context."""
        context = torch.zeros(rows, dtype=torch.int64)
        return self.log_p[context], (context,)

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of what follows ``tokens`` (rows,), and the contexts after them."""
        context = self.following[state[0], tokens]
        return self.log_p[context], (context,)

    def draw(self, count: int, length: int, rng: np.random.Generator) -> Array:
        """Return ``count`` sequences of the chain, int64 (count, length)."""
        cumulative, following = self.log_p.exp().cumsum(1).numpy(), self.following.numpy()
        context, out = np.zeros(count, np.int64), np.empty((count, length), np.int64)
        for t in range(length):
            # The last cumulative sum may be a rounding below 1, so the last token takes what lies above it.
            out[:, t] = (rng.random(count)[:, None] >= cumulative[context, :-1]).sum(1)
            context = following[context, out[:, t]]
        return out


def fit(public: Array, vocabulary: int, order: int, pseudo: float = PSEUDO) -> Markov:
    """Return the chain of ``public`` sequences: counts of each token after each context, ``pseudo`` added to all.

    Contexts shorter than the order are counted wherever they occur, not only at starts.

    Args:
        public: Tokens of sequences that are nobody's secret, int (rows, length); unknown ones are in no count.
        vocabulary: V.
        order: k.
        pseudo: Above 0, so that nothing is impossible.
    """
    require(order >= 0 and pseudo > 0, "order >= 0 and pseudo > 0", order=order, pseudo=pseudo)
    size = _starts(vocabulary, order)[-1]
    require(size * vocabulary <= _MOST, f"at most {_MOST} contexts × tokens", contexts=size)
    parts = [_counts(public, vocabulary, j) for j in range(order + 1)]
    counts = np.concatenate(parts) + pseudo
    return Markov(torch.from_numpy(np.log(counts / counts.sum(1, keepdims=True))), order)


def _counts(rows: Array, vocabulary: int, context: int) -> Array:
    """Return how often each token follows each string of ``context`` tokens, float64 (V^context, V)."""
    codes = np.zeros((len(rows), max(0, rows.shape[1] - context)), np.int64)
    known = np.ones(codes.shape, np.bool_)
    for j in range(context + 1):
        here = rows[:, j : j + codes.shape[1]]
        codes, known = codes * vocabulary + here, known & (here < vocabulary)
    found = np.bincount(codes[known], minlength=vocabulary ** (context + 1))
    return found.reshape(-1, vocabulary).astype(np.float64)


def _starts(vocabulary: int, order: int) -> list[int]:
    """Return where the contexts of each length begin, and their number at the end."""
    return list(itertools.accumulate((vocabulary**j for j in range(order + 1)), initial=0))


def _following(vocabulary: int, order: int) -> Array:
    """Return the context after each context and token, the unknown token last, int64 (contexts, V + 1)."""
    starts = _starts(vocabulary, order)
    out = np.zeros((starts[-1], vocabulary + 1), np.int64)  # after an unknown token: the empty context
    for j in range(order + 1):
        longer = min(j + 1, order)
        code = np.arange(vocabulary**j)[:, None] * vocabulary + np.arange(vocabulary)
        out[starts[j] : starts[j + 1], :-1] = starts[longer] + code % vocabulary**longer
    return out
