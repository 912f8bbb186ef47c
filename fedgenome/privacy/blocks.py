"""Slots dealt to blocks of rows that are computed at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedgenome.addition import MICRO_BATCH
from fedgenome.errors import SpecError

_MOST_ROWS = 64  # of one donor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Whole donors, of equally many slots each.

    Attributes:
        slots: (donors, rows a donor) int64.
        live: Which of them count, (donors, rows a donor) bool.
        whole: Whether all do.
    """

    slots: Tensor
    live: Tensor
    whole: bool

    @property
    def donors(self) -> int:
        """Number of donors, padding included."""
        return len(self.slots)

    @property
    def shares(self) -> Tensor:
        """Of a row in its donor's mean, (rows,) float32."""
        if self.whole:
            return torch.full((self.slots.numel(),), 1 / self.slots.shape[1])
        return (self.live / self.live.sum(1, keepdim=True).clamp(min=1)).flatten()

    def rows(self, tensor: Tensor) -> Tensor:
        """Return the rows of ``tensor``, zeros where a slot does not count: what it holds is never computed with."""
        picked = tensor.detach().index_select(0, self.slots.view(-1))
        return picked if self.whole else blank(picked, ~self.live.flatten())


def cut(donor: Tensor, mask: Tensor, height: int) -> Iterator[Block]:
    """Yield blocks of at most ``height`` rows, a multiple of 16 (more, if one donor has more).

    Donors of 1, 2, 3–4, 5–8, ... rows go together, filled up. The layout depends on ``donor`` alone, so that
    masking a slot moves no other.

    Args:
        donor: (slots,) int64, whose row it is.
        mask: (slots,) bool, which count.

    Raises:
        SpecError: a donor has more than 64 rows.
    """
    order = np.argsort(donor.numpy(), kind="stable")
    owners = donor.numpy()[order]
    starts = np.flatnonzero(np.concatenate([owners[:1] == owners[:1], owners[1:] != owners[:-1]]))
    sizes = np.concatenate([starts[1:], [len(order)] * bool(len(starts))]) - starts
    counts, most_rows = mask.numpy(), int(sizes.max(initial=0))
    # Raised on how rows are dealt to donors: check it where a shard is made, not where questions are answered.
    if most_rows > _MOST_ROWS:
        raise SpecError(f"expected at most {_MOST_ROWS} rows a donor, as a block holds whole donors; keep fewer")
    width = 1
    while width < 2 * most_rows:
        mine, position = np.flatnonzero((sizes > width // 2) & (sizes <= width)), np.arange(width)
        most, least = max(1, height // width), max(1, MICRO_BATCH // width)
        for first in range(0, len(mine), most):
            some = mine[first : first + most, None]
            slots = np.zeros((len(some) + -len(some) % least, width), np.int64)
            there = np.zeros(slots.shape, np.bool_)
            slots[: len(some)] = order[np.minimum(starts[some] + position, len(order) - 1)]
            there[: len(some)] = position < sizes[some]
            live = counts[slots] & there
            yield Block(slots=torch.from_numpy(slots), live=torch.from_numpy(live), whole=bool(live.all()))
        width *= 2


def blank(rows: Tensor, idle: Tensor) -> Tensor:
    """Return ``rows`` (rows, ...) with zeros where ``idle`` (rows,) is True."""
    return rows.masked_fill(idle.view(-1, *[1] * (rows.dim() - 1)), 0)
