"""Bounded sums over donors. Only this folder can build a :class:`ClippedSum` (DESIGN §3).

What a method answers must be a ClippedSum, so that it cannot forget to clip.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import InitVar, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from fedgenome.addition import PRECISIONS, Precision
from fedgenome.errors import require
from fedgenome.query import Question
from fedgenome.selection import scale_of

Array = npt.NDArray[Any]
Product = tuple[Array, Array | None]  # left (rows, a) ⊗ right (rows, b); with None the square of left, upper triangle

_TOKEN: Final = object()  # who holds it clips; a test keeps it within this folder
_MARGIN = 1 - 2.0**-30  # rows are clipped this far inside the bound, for what float64 norms miss
_CHUNK = 1 << 22  # float64 numbers held at a time (32 MiB)
_ROWS = 2048  # rows of products held at a time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClippedSum:
    """A sum over donors in which each donor's vector has a norm of at most ``bound``.

    Attributes:
        value: (length,) float64, read-only. The number of donors in it is kept nowhere.
        bound: Bound of one donor: C in L2, or Δs for every score.
        norm: ``l2``; ``max`` for scores within ±Δs, or ``positive`` for scores from 0 to Δs.
        precision: Arithmetic in which donors were added; the dearest unless it is known to be better.
    """

    value: Array
    bound: float
    token: InitVar[object]
    norm: Literal["l2", "max", "positive"] = "l2"
    precision: Precision = "float32x128"

    def __post_init__(self, token: object) -> None:
        require(token is _TOKEN, "a ClippedSum built by sum_rows, sum_scores or sum_gradients")
        self.value.setflags(write=False)

    def suits(self, question: Question) -> bool:
        """Whether it is clipped as ``question`` asks, as long, and added no worse than ``question`` pays for."""
        norms = ("l2",) if question.reduce == "sum" else ("positive",) if question.monotone else ("max", "positive")
        paid = PRECISIONS.index(self.precision) <= PRECISIONS.index(question.precision)
        return self.bound == question.bound and self.norm in norms and self.value.shape == (question.length,) and paid


def sum_rows(rows: Array, donor: Array, mask: Array, bound: float) -> ClippedSum:
    """Return the sum over donors of the mean of a donor's unmasked rows, clipped to ``bound`` in L2.

    A row with NaN or infinity counts as a row of zeros: raising on one donor's data would disclose it.
    No rows give zeros.

    Args:
        rows: (slots, n), any float or integer type.
        donor: (slots,) int64, whose row it is.
        mask: (slots,) bool; a False slot contributes exactly nothing, whatever it holds.
        bound: C, in the units of ``rows``.

    Raises:
        SpecError: shapes do not agree, or not 0 < bound < inf.
    """
    require(rows.ndim == 2, "rows of shape (slots, n)", shape=rows.shape)
    check_slots(len(rows), donor.shape, mask.shape, bound)
    require(mask.dtype == np.bool_, "a mask of bool", dtype=mask.dtype)
    total = np.zeros(rows.shape[1])
    for slots, starts in _donor_chunks(donor, max(1, _CHUNK // max(1, rows.shape[1]))):
        means = _means(rows[slots], mask[slots], starts)
        norms = np.sqrt(np.einsum("ij,ij->i", means, means))
        total += (bound * _MARGIN / np.maximum(norms, bound * _MARGIN)) @ means
    return ClippedSum(value=total, bound=bound, token=_TOKEN, precision="float64")


def sum_products(make: Callable[[Array], Sequence[Product]], donor: Array, mask: Array, bound: float) -> ClippedSum:
    """Return the sum over donors of the mean of a donor's unmasked rows, each shortened to ``bound`` in L2.

    A row is outer products laid end to end. Its norm is √Σ ‖left‖²·‖right‖², and a sum of such rows is a matrix
    product, so that no row is ever written out. Rows are shortened, not their means, which then are no longer. A row
    whose norm is not finite counts as a row of zeros.

    Args:
        make: From indices of slots, int64 (some,), maybe none, to their products. What it gives for a slot must
            depend on that slot alone.
        donor: (slots,) int64, whose row it is.
        mask: (slots,) bool; a False slot contributes exactly nothing, whatever ``make`` gives for it.
        bound: C, in the units of the rows.

    Raises:
        SpecError: shapes do not agree, or not 0 < bound < inf.
    """
    check_slots(len(donor), donor.shape, mask.shape, bound)
    require(mask.dtype == np.bool_, "a mask of bool", dtype=mask.dtype)
    whose = np.unique(donor, return_inverse=True)[1]
    rows = np.maximum(np.bincount(whose, mask), 1)[whose]
    total: npt.NDArray[np.float64] | None = None
    for first in range(0, max(1, len(donor)), _ROWS):
        at = np.arange(first, min(first + _ROWS, len(donor)))
        part = _sum_of_products(make(at), mask[at], rows[at], bound * _MARGIN)
        total = part if total is None else total + part
    return ClippedSum(value=np.zeros(0) if total is None else total, bound=bound, token=_TOKEN, precision="float64")


def _sum_of_products(made: Sequence[Product], mask: Array, rows: Array, bound: float) -> npt.NDArray[np.float64]:
    with np.errstate(all="ignore"):  # a crafted payload may overflow: no row
        squares = [_square(left) * _square(left if right is None else right) for left, right in made]
        norms = np.sqrt(np.sum(squares, axis=0))
    clean = mask & np.isfinite(norms)
    weight = np.where(clean, bound / np.maximum(norms, bound), 0) / rows
    kept = [[None if part is None else np.where(clean[:, None], part, 0) for part in pair] for pair in made]
    return np.concatenate([_weighted(left, right, weight) for left, right in kept])


def _square(rows: Array) -> npt.NDArray[np.float64]:
    return np.asarray(np.einsum("ij,ij->i", rows, rows))


def _weighted(left: Any, right: Any, weight: Array) -> npt.NDArray[np.float64]:
    """Return Σ weight · left ⊗ right, (a·b,); of squares the upper triangle (:func:`upper`)."""
    if right is not None:
        return np.asarray((left * weight[:, None]).T @ right).ravel()
    half = left * np.sqrt(weight)[:, None]
    return upper(half.T @ half)  # of a matrix with itself: NumPy does half the work


def upper(square: Array) -> npt.NDArray[np.float64]:
    """Return the upper triangle of a symmetric (k, k) matrix, row by row, (k(k+1)/2,), its norm kept.

    What lies off the diagonal stands for two numbers, so it is multiplied with √2.
    """
    doubled = square * math.sqrt(2)
    np.fill_diagonal(doubled, np.diagonal(square))
    return np.asarray(doubled[np.triu(np.ones(square.shape, np.bool_))])


def sum_scores(rows: Array, donor: Array, mask: Array, bound: float, *, monotone: bool = False) -> ClippedSum:
    """Return the sum over donors of their scores: the mean of a donor's unmasked rows, clipped and rounded one by one.

    A donor's scores are multiples of 1/s (:func:`~fedgenome.selection.scale_of`) in ±``bound``, so that sums are
    exact and a donor moves none by more than ``bound``. A row with NaN or infinity counts as a row of zeros.

    Args:
        rows: (slots, scores), any float or integer type.
        donor: (slots,) int64, whose row it is.
        mask: (slots,) bool; a False slot contributes exactly nothing, whatever it holds.
        bound: Δs, a multiple of 2^-20.
        monotone: Negative scores count as 0: a donor then raises all scores or none.

    Raises:
        SpecError: shapes do not agree, or ``bound`` is no such number.
    """
    require(rows.ndim == 2, "rows of shape (slots, scores)", shape=rows.shape)
    check_slots(len(rows), donor.shape, mask.shape, bound)
    require(mask.dtype == np.bool_, "a mask of bool", dtype=mask.dtype)
    scale, total = scale_of(bound), np.zeros(rows.shape[1])
    for slots, starts in _donor_chunks(donor, max(1, _CHUNK // max(1, rows.shape[1]))):
        scores = np.clip(_means(rows[slots], mask[slots], starts), 0.0 if monotone else -bound, bound)
        total += np.rint(scores * scale).sum(axis=0)
    norm: Literal["max", "positive"] = "positive" if monotone else "max"
    return ClippedSum(value=total / scale, bound=bound, token=_TOKEN, norm=norm, precision="float64")


def check_slots(slots: int, donor: tuple[int, ...], mask: tuple[int, ...], bound: float) -> None:
    """Check what every clipped sum is given: one donor and one mask entry a slot, 0 < bound < inf."""
    require(donor == (slots,), "one donor a slot", slots=slots, donor=donor)
    require(mask == (slots,), "one mask entry a slot", slots=slots, mask=mask)
    require(0 < bound < np.inf, "0 < bound < inf", bound=bound)


def _donor_chunks(donor: Array, most: int) -> Iterator[tuple[Array, Array]]:
    """Yield (slots sorted by donor, where each donor starts among them), whole donors, about ``most`` slots."""
    order = np.argsort(donor, kind="stable")
    starts = np.flatnonzero(np.diff(donor[order], prepend=donor[order[:1]] - 1))
    while starts.size:
        first = starts[0]
        n = max(1, int(np.searchsorted(starts, first + most)))
        last = starts[n] if n < starts.size else order.size
        yield order[first:last], starts[:n] - first
        starts = starts[n:]


def _means(rows: Array, mask: Array, starts: Array) -> npt.NDArray[np.float64]:
    """Return the mean of each donor's unmasked rows, (donors, n) float64, finite."""
    clean = mask & np.isfinite(rows).all(axis=1)
    values = np.where(clean[:, None], rows, 0).astype(np.float64)
    if starts.size == len(rows):
        return values
    counts = np.maximum(np.add.reduceat(mask.astype(np.int64), starts), 1)
    # Divided before they are added: the mean of finite rows cannot overflow.
    return np.add.reduceat(values / np.repeat(counts, np.diff(starts, append=len(rows)))[:, None], starts)
