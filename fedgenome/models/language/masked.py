"""Encoder of self-attention blocks that fills in hidden tokens (Devlin et al. 2019), normalised before each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedgenome.errors import require
from fedgenome.models.language.attention import Block, norm
from fedgenome.models.language.reading import embedding, positions
from fedgenome.models.parameters import linear


class Encoder(nn.Module):
    """A masked model of at most ``length`` tokens. Weights are zero until drawn or loaded.

    Args:
        vocabulary: V.
        width: Features of a position, a multiple of 16.
        layers: Blocks.
        length: Positions there are.
    """

    def __init__(self, vocabulary: int, width: int, layers: int, length: int) -> None:
        super().__init__()
        require(layers >= 1, "layers >= 1", layers=layers)
        self.vocabulary, self.length = vocabulary, length
        self.read = embedding(vocabulary, width)
        self.place = positions(length, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = norm(width)
        self.predict = linear(width, vocabulary)

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Return logits (rows, length, V).

        Raises:
            SpecError: ``tokens`` are longer than the model.
        """
        rows, length = tokens.shape
        require(length <= self.length, "tokens no longer than the model", length=length, model=self.length)
        shown = tokens.masked_fill(hidden, self.vocabulary + 1)
        # Looked up by row as well: per-donor clipping needs rows first.
        x = self.read(shown) + self.place(torch.arange(length).expand(rows, length))
        for layer in self.layers:
            x = layer(x, causal=False)
        logits: Tensor = self.predict(self.norm(x))
        return logits
