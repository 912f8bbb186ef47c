"""Recurrent language model: long short-term memory (Hochreiter and Schmidhuber 1997), one layer on another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedgenome.errors import require
from fedgenome.models.language.base import State
from fedgenome.models.language.reading import embedding, shifted, starts
from fedgenome.models.parameters import blank, linear


class Lstm(nn.Module):
    """A causal model of any length. Weights are zero until drawn or loaded.

    Args:
        vocabulary: V.
        width: Features of a token and of a layer's state.
        layers: How many.
    """

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        require(layers >= 1, "layers >= 1", layers=layers)
        self.vocabulary = vocabulary
        self.read = embedding(vocabulary, width)
        # One nn.LSTM a layer, so that an adapter fits before each.
        self.layers = nn.ModuleList(
            blank(nn.LSTM(width, width, batch_first=True, device="meta")) for _ in range(layers)
        )
        self.predict = linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (rows, length, V)."""
        x = self.read(shifted(tokens, self.vocabulary))
        for layer in self.layers:
            x = layer(x)[0]
        logits: Tensor = self.predict(x)
        return logits

    def begin(self, rows: int) -> tuple[Tensor, State]:
        """Return the logits of the first token and the state before it: hidden and cell of each layer."""
        nothing = torch.zeros(rows, self.read.embedding_dim)
        return self.step(starts(rows, self.vocabulary), (nothing,) * (2 * len(self.layers)))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of what follows ``tokens`` and the state after them."""
        x, after = self.read(tokens)[:, None], list[Tensor]()
        for layer, hidden, cell in zip(self.layers, state[::2], state[1::2], strict=True):
            x, ends = layer(x, (hidden[None], cell[None]))
            after += [end[0] for end in ends]
        return self.predict(x[:, 0]), tuple(after)
