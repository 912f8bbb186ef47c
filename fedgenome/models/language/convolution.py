"""Dilated causal convolutions, each position seeing twice as far a layer on (van den Oord et al. 2016), normalised.

Blocks reach 1, 2, 4 … 32 positions back, and begin again at 1. One token at a time they keep the last positions of each
block's input in a queue (Paine et al. 2016).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.errors import require
from fedgenome.models.language.attention import norm
from fedgenome.models.language.base import State
from fedgenome.models.language.reading import embedding, shifted, starts
from fedgenome.models.parameters import blank, linear

_REACHES = 6  # 1, 2, 4 … 32


class Block(nn.Module):
    """(rows, length, width) to the same: x + out(gelu(taps h)), h = norm(x); taps see h and h ``reach`` before.

    Args:
        width: Features of a position.
        reach: How far back the other tap is.
    """

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.norm = norm(width)
        self.taps = blank(nn.Conv1d(width, width, 2, dilation=reach, device="meta"))
        self.out = linear(width, width)

    def forward(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Return what becomes of some positions, and the end of the queue after them.

        Args:
            x: The positions, at least one.
            before: Their forerunners' normed features, (rows, reach, width); zeros before the first.
        """
        h = torch.cat([before, self.norm(x)], 1)
        tapped = self.taps(h.transpose(1, 2)).transpose(1, 2)
        return x + self.out(functional.gelu(tapped)), h[:, -self.reach :]


class Convolution(nn.Module):
    """A causal model of any length, which sees 64 tokens back every six blocks. Weights are zero until drawn or loaded.

    Args:
        vocabulary: V.
        width: Features of a position.
        layers: Blocks.
    """

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        require(layers >= 1, "layers >= 1", layers=layers)
        self.vocabulary = vocabulary
        self.read = embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width, 2 ** (k % _REACHES)) for k in range(layers))
        self.norm = norm(width)
        self.predict = linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (rows, length, V)."""
        x, _ = self._blocks(self.read(shifted(tokens, self.vocabulary)), self._nothing(len(tokens)))
        logits: Tensor = self.predict(self.norm(x))
        return logits

    def begin(self, rows: int) -> tuple[Tensor, State]:
        """Return the logits of the first token and the state before it: each block's queue."""
        return self.step(starts(rows, self.vocabulary), self._nothing(rows))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of what follows ``tokens`` and the state after them."""
        x, after = self._blocks(self.read(tokens)[:, None], state)
        return self.predict(self.norm(x[:, 0])), after

    def _nothing(self, rows: int) -> State:
        blocks, width = cast("Iterable[Block]", self.layers), self.read.embedding_dim
        return tuple(torch.zeros(rows, block.reach, width) for block in blocks)

    def _blocks(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        after = list[Tensor]()
        for block, queue in zip(self.layers, state, strict=True):
            x, queue = block(x, queue)
            after.append(queue)
        return x, tuple(after)
