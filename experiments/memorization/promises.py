"""What is promised of the grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np
from scipy import stats

from experiments.harness import Target
from experiments.memorization.grid import ARCHITECTURES
from experiments.memorization.pooled import Pooled, of_rate
from experiments.memorization.rows import Kind, Row
from fedgenome.audit.bounds.exposure import NULL_MEAN_BITS
from fedgenome.audit.results import LEVEL

MOST = 64  # copies of the ladder's last rung
Points = Mapping[tuple[Kind, int], Pooled]  # by kind and epoch


def every(points: Points, misses: list[Row]) -> Iterator[Target]:
    """Yield all promises.

    Args:
        points: What was seen of each kind after each epoch.
        misses: What each vector misses (:func:`experiments.memorization.rows.of_misses`).
    """
    last = {kind: points[kind, max(epoch for k, epoch in points if k == kind)] for kind, _ in points}
    whole = {kind: pooled for kind, pooled in last.items() if kind[3] == "scratch" and kind[4] is None}
    yield from recital(whole)
    yield from calibration(points)
    yield from growth(whole)
    nothing = {kind: pooled for kind, pooled in last.items() if kind[3] == "nothing planted"}
    low = max(of_rate(pooled, pooled.canaries.rungs, 1 - (1 - LEVEL) / len(nothing)).worst.low for pooled in nothing.values())
    name = "nothing planted: largest lower end of the score, of all architectures together"
    yield Target(name=name, value=low, target=0.0, sense="at most")
    for row in misses:
        name = f"cases that {row['missed by']} misses and another vector sees"
        yield Target(name=name, value=row["missed"], target=1, sense="at least")


def recital(whole: Mapping[Kind, Pooled]) -> Iterator[Target]:
    """Yield: every canary of 64 copies is extracted, by two architectures at least; what was not planted is not."""
    for data, capacity in dict.fromkeys((kind[0], kind[2]) for kind in whole):
        here = {kind[1]: pooled for kind, pooled in whole.items() if (kind[0], kind[2]) == (data, capacity)}
        yield Target(
            name=f"{data}, {capacity}: architectures from which every canary of {MOST} copies is extracted",
            value=sum(bool(_extracted(pooled, MOST).all()) for pooled in here.values()),
            target=2,
            sense="at least",
        )
    never = np.concatenate([_extracted(pooled, 0) for pooled in whole.values()])
    name = f"canaries extracted that were not planted, of {len(never)}"
    yield Target(name=name, value=int(never.sum()), target=0, sense="at most")


def _extracted(pooled: Pooled, rate: int) -> np.ndarray:
    found = pooled.seen.extracted
    return np.zeros(0, np.bool_) if found is None else found[(pooled.canaries.repeats == rate) & ~pooled.canaries.coin]
