"""Decoder of self-attention blocks over learned positions (Radford et al. 2018), normalised before each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

from fedgenome.errors import require
from fedgenome.models.language.attention import HEAD, Block, Stack
from fedgenome.models.language.base import State
from fedgenome.models.language.reading import shifted, starts


class Transformer(Stack):
    """A causal model of at most ``length`` tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (rows, length, V).

        Raises:
            SpecError: ``tokens`` are longer than the model.
        """
        return self.logits(shifted(tokens, self.vocabulary), causal=True)

    def begin(self, rows: int) -> tuple[Tensor, State]:
        """Return the logits of the first token and the state before it: keys and values of each block."""
        nothing = torch.zeros(rows, self.read.embedding_dim // HEAD, 0, HEAD)
        return self.step(starts(rows, self.vocabulary), (nothing,) * (2 * len(self.layers)))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of what follows ``tokens`` and the state after them.

        Raises:
            SpecError: The model has no position left.
        """
        at = state[0].shape[2]
        require(at < self.length, "tokens no longer than the model", length=at + 1, model=self.length)
        x, after = (self.read(tokens) + self.place(torch.full_like(tokens, at)))[:, None], list[Tensor]()
        for layer, keys, values in zip(cast("Iterable[Block]", self.layers), state[::2], state[1::2], strict=True):
            x, *more = layer.step(x, keys, values)
            after += more
        return self.predict(self.norm(x[:, 0])), tuple(after)
