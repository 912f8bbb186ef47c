"""Blocks of self-attention and a feed-forward layer, each normalised before (Xiong et al. 2020), over places."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.errors import require
from fedgenome.models.language.reading import embedding, positions
from fedgenome.models.parameters import blank, linear

HEAD = 16  # features of a head
_INNER = 4  # a feed-forward layer's width, of the block's


def norm(width: int) -> nn.LayerNorm:
    """Return a LayerNorm over the features of a position."""
    return blank(nn.LayerNorm(width, device="meta"))


class Block(nn.Module):
    """(rows, length, width) to the same: x + attention(norm(x)), then x + feed(norm(x)).

    Args:
        width: A multiple of 16, the features of a head.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        require(width % HEAD == 0, f"a width that is a multiple of {HEAD}", width=width)
        self.before_attention = norm(width)
        self.query = linear(width, width)
        self.key = linear(width, width, bias=False)  # a bias moves all scores of a query alike
        self.value = linear(width, width)
        self.out = linear(width, width)
        self.before_feed = norm(width)
        self.enter = linear(width, _INNER * width)
        self.leave = linear(_INNER * width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        """Return what becomes of all positions; if ``causal``, each sees itself and those before it."""
        h = self.before_attention(x)
        query, key, value = (_heads(part(h)) for part in (self.query, self.key, self.value))
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self._fed(x + self.out(seen.transpose(1, 2).flatten(2)))

    def step(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what becomes of one more position (rows, 1, width), and keys and values with its own.

        Args:
            x: The position.
            keys: Of those before it, (rows, heads, positions, features).
            values: Likewise.
        """
        h = self.before_attention(x)
        keys = torch.cat([keys, _heads(self.key(h))], 2)
        values = torch.cat([values, _heads(self.value(h))], 2)
        seen = functional.scaled_dot_product_attention(_heads(self.query(h)), keys, values)
        return self._fed(x + self.out(seen.transpose(1, 2).flatten(2))), keys, values

    def _fed(self, x: Tensor) -> Tensor:
        fed: Tensor = self.leave(functional.gelu(self.enter(self.before_feed(x))))
        return x + fed


class Stack(nn.Module):
    """What reads tokens at their places block by block, and predicts. Weights are zero until drawn or loaded.

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

    def logits(self, tokens: Tensor, causal: bool) -> Tensor:
        """Return logits (rows, length, V) of what is read at each place.

        Raises:
            SpecError: ``tokens`` are longer than the model.
        """
        rows, length = tokens.shape
        require(length <= self.length, "tokens no longer than the model", length=length, model=self.length)
        # Looked up by row as well: per-donor clipping needs rows first.
        x = self.read(tokens) + self.place(torch.arange(length).expand(rows, length))
        for layer in self.layers:
            x = layer(x, causal=causal)
        predicted: Tensor = self.predict(self.norm(x))
        return predicted


def _heads(x: Tensor) -> Tensor:
    """Return (rows, heads, positions, features) of (rows, positions, width)."""
    return x.view(*x.shape[:2], -1, HEAD).transpose(1, 2)
