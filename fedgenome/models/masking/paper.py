"""The two networks of adversarial feature masking as its paper has them, and a regression beside them.

Group normalisation stands where the paper has batch normalisation, which mixes donors: one's gradient would hold all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.models.masking import identifiers
from fedgenome.models.parameters import blank, linear

Loss = Literal["sound", "printed"]
CODE = 64  # numbers of a donor's code
_WIDTH, _GROUPS, _KERNEL = 8, 2, 5


class PersonMasker(nn.Module):
    """Three convolutions along a person's variants: how much of each is kept, a mask for every person."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, _WIDTH, _WIDTH, 1)
        self.convolutions = nn.ModuleList(
            blank(nn.Conv1d(left, right, _KERNEL, padding=_KERNEL // 2, device="meta"))
            for left, right in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(_GROUPS, _WIDTH) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Return M(x), (rows, V) in [0, 1], of rows (rows, V)."""
        seen = x[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=False):
            seen = norm(convolution(seen)).relu()
        keep: Tensor = self.convolutions[2](seen)[:, 0].sigmoid()
        return keep


class Paper(nn.Module):
    """Masker, LSTM identifier over a closed set of people, and a logistic regression of the label.

    Args:
        variants: V.
        labels: L.
        loss: "sound": the masker makes the identifier fail, pays for what it withholds and serves the regression.
            "printed": it minimises the identifier's own loss, and what it keeps.
        hard: Whether entries are kept or withheld whole, straight through; else x · M is told.
        sparsity: λ.
        usefulness: μ of the regression in the sound loss.
    """

    codes: Tensor

    def __init__(
        self, variants: int, labels: int, *, loss: Loss, hard: bool, sparsity: float, usefulness: float
    ) -> None:
        super().__init__()
        self.mask = PersonMasker()
        self.identifier = identifiers.network("lstm", variants)
        self.utility = linear(variants, labels)
        self.loss, self.hard, self.sparsity, self.usefulness = loss, hard, sparsity, usefulness

    def forward(self, x: Tensor, own: Tensor, label: Tensor) -> Tensor:
        """Return each row's loss (rows,), of rows in [−1, 1], whose they are among ``codes``, and labels."""
        keep = self.mask(x)
        shown = (keep > 0.5).float() - keep.detach() + keep if self.hard else keep
        if self.loss == "printed":
            printed: Tensor = self._identity(x, shown, own) + self.sparsity * keep.sum(1)
            return printed
        turned = 2 * shown.detach() - shown
        told = functional.cross_entropy(self.utility(x * shown), label, reduction="none")
        hidden = self.sparsity * (1 - keep).mean(1)
        sound: Tensor = self._identity(x, turned, own) + hidden + self.usefulness * told
        return sound

    def _identity(self, x: Tensor, shown: Tensor, own: Tensor) -> Tensor:
        told = shown if self.hard else torch.ones_like(shown)
        logits = identifiers.SHARPNESS * identifiers.placed(self.identifier, x * shown, told) @ self.codes.T
        return functional.cross_entropy(logits, own, reduction="none")


def unit(codes: Sequence[Tensor]) -> Tensor:
    """Return codes (people, 64) of length 1."""
    return functional.normalize(torch.stack(list(codes))) if codes else torch.zeros(0, CODE)
