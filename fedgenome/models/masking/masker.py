"""The masker: keep logits of variants, from what is public or paid for about each of them and never from a person."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fedgenome.models.parameters import blank, initialise

_WIDTH, _KERNEL = 16, 5
_REACH = _WIDTH * _KERNEL  # numbers that a logit of the CNN is the sum of


class Masker(nn.Module):
    """A small CNN along the list of variants, a linear layer beside it, and a free number a variant.

    The CNN shares what is learned among variants of like features and neighbours; the free numbers let it express any
    list.

    Args:
        features: Numbers a variant F.
        variants: In the order of the genome V.
    """

    def __init__(self, features: int, variants: int) -> None:
        super().__init__()
        self.first = blank(nn.Conv1d(features, _WIDTH, _KERNEL, padding=2, device="meta"))
        self.second = blank(nn.Conv1d(_WIDTH, 1, _KERNEL, padding=2, device="meta"))
        self.plain = blank(nn.Linear(features, 1, bias=False, device="meta"))
        self.free = nn.Parameter(torch.zeros(variants))

    def forward(self, features: Tensor) -> Tensor:
        """Return keep logits (V,) of ``features`` (V, F)."""
        seen = self.second(self.first(features.T[None]).tanh() / _REACH**0.5)[0, 0]
        logits: Tensor = seen + self.plain(features)[:, 0] + self.free
        return logits


def start(masker: Masker, first: int, rng: np.random.Generator) -> None:
    """Set a masker to rank variants by the feature numbered ``first`` alone, ready to learn more."""
    initialise(masker, rng)
    with torch.no_grad():
        masker.second.weight.zero_()
        masker.plain.weight.zero_()
        masker.plain.weight[0, first] = 1
