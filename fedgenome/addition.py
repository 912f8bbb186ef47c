"""What adding in finite precision may change of a sum of clipped vectors: the sensitivity pays for it (DESIGN §6)."""

from __future__ import annotations

import functools
import math
from typing import Literal

Precision = Literal["float64", "float32", "float32x128"]  # in the order of what they cost
PRECISIONS: tuple[Precision, ...] = ("float64", "float32", "float32x128")
MICRO_BATCH = 16  # masked slots whose gradients are added in float32; across them in float64
LARGE_BATCH = 128  # the same for float32x128: dearer, and faster
BLOCK_TAIL = 1e-12  # chance that a Poisson sample exceeds the micro-batches charged for; goes into δ
_LARGE_OK = 0.005  # most of the bound that float32x128 may cost


def error(precision: Precision, donors: int, sampling: float) -> float:
    """Return how far the order of adding can move a site's sum, as a share of the bound on one donor.

    Args:
        precision: In what the sum was added.
        donors: The largest cap of a site.
        sampling: Rate of the Poisson sample.
    """
    if precision == "float64":
        return donors**2 * 2.0**-52  # twice n²·u, the error of plain summation in any order
    if precision == "float32":
        return micro_batches(donors, sampling) * 2 * MICRO_BATCH**2 * 2.0**-24
    return _large_error(donors, sampling)


def _large_error(donors: int, sampling: float) -> float:
    """Return what float32 sums of m = ``LARGE_BATCH`` donors may change, as a share of the bound.

    Each product is rounded, and each partial sum of k donors by at most k·C·2^-24. Whatever the order, these are at
    most 2 + 3 + ... + m donors; and once more for the sum without the donor.
    """
    return micro_batches(donors, sampling, LARGE_BATCH) * LARGE_BATCH * (LARGE_BATCH + 3) * 2.0**-24


def gradient_precision(donors: int, sampling: float) -> Precision:
    """Return how gradients of a sample of ``donors`` are best added: 128 at a time where that costs little.

    >>> gradient_precision(2_000, 0.1), gradient_precision(10_000, 0.1)
    ('float32x128', 'float32')
    """
    return "float32x128" if _large_error(donors, sampling) <= _LARGE_OK else "float32"


@functools.lru_cache(maxsize=256)
def micro_batches(donors: int, sampling: float, together: int = MICRO_BATCH) -> int:
    """Most micro-batches of ``together`` donors a Poisson sample needs, but for a chance of ``BLOCK_TAIL``.

    Chernoff: P(Binomial(D, q) ≥ k) ≤ exp(−D·KL(k/D ‖ q)).

    >>> micro_batches(160, 1.0), micro_batches(160, 0.1)
    (10, 4)
    """
    if sampling >= 1:
        return math.ceil(donors / together)

    def tail(k: int) -> float:
        a = k / donors
        rest = (1 - a) * math.log((1 - a) / (1 - sampling)) if a < 1 else 0.0
        return math.exp(-donors * (a * math.log(a / sampling) + rest))

    most = next((k for k in range(math.floor(donors * sampling) + 1, donors + 1) if tail(k) <= BLOCK_TAIL), donors)
    return math.ceil(most / together)
