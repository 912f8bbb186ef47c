"""How every language model reads tokens: an embedding of the known ones, the unknown, and one symbol more."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedgenome.errors import require
from fedgenome.models.parameters import blank


def embedding(vocabulary: int, width: int) -> nn.Embedding:
    """Return features of V known tokens, of the unknown (V) and of one symbol more (V + 1): start, or hidden."""
    require(vocabulary >= 2 and width >= 1, "vocabulary >= 2, width >= 1", vocabulary=vocabulary, width=width)
    return blank(nn.Embedding(vocabulary + 2, width, device="meta"))


def positions(length: int, width: int) -> nn.Embedding:
    """Return learned features of positions 0 … length − 1."""
    require(length >= 1, "length >= 1", length=length)
    return blank(nn.Embedding(length, width, device="meta"))


def shifted(tokens: Tensor, vocabulary: int) -> Tensor:
    """Return what is read before each of ``tokens`` (rows, length): a start symbol, then all but the last."""
    return torch.cat([starts(len(tokens), vocabulary)[:, None], tokens[:, :-1]], 1)[:, : tokens.shape[1]]


def starts(rows: int, vocabulary: int) -> Tensor:
    """Return a start symbol for each row, (rows,)."""
    return torch.full((rows,), vocabulary + 1, dtype=torch.int64)
