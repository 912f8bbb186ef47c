"""What is promised of the grid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import stats

from experiments.harness import Target
from experiments.memorization import private
from experiments.memorization.pooled import Pooled, coins, of_rate
from experiments.memorization.rows import Kind, Row
from fedgenome.audit.bounds.exposure import NULL_MEAN_BITS
from fedgenome.audit.results import LEVEL
from fedgenome.query import Array

MOST = 64  # copies of the ladder's last rung
Last = Mapping[Kind, Pooled]  # what was seen of each kind at its end


def every(last: Last, misses: Sequence[Row]) -> Iterator[Target]:
    """Yield all promises.

    Args:
        last: What was seen of each kind at its end.
        misses: What each vector misses (:func:`experiments.memorization.rows.of_misses`).
    """
    whole = {kind: pooled for kind, pooled in last.items() if kind.trained == "scratch"}
    yield from recital(whole)
    yield from calibration(last)
    yield from growth(whole)
    yield from priced({kind: pooled for kind, pooled in last.items() if kind.epsilon is not None})
    for row in misses:
        name = f"cases where {row['missed by']} sees nothing and another vector does"
        yield Target(name=name, value=row["missed"], target=1, sense="at least")


def recital(whole: Last) -> Iterator[Target]:
    """Yield: two architectures at least say every canary of 64 copies; nobody says one that was not planted."""
    for data, capacity in dict.fromkeys((kind.data, kind.capacity) for kind in whole):
        here = [pooled for kind, pooled in whole.items() if (kind.data, kind.capacity) == (data, capacity)]
        yield Target(
            name=f"{data}, {capacity}: architectures that say every canary of {MOST} copies",
            value=sum(bool(_extracted(pooled, MOST).all()) for pooled in here),
            target=2,
            sense="at least",
        )
    never = np.concatenate([_extracted(pooled, 0) for pooled in whole.values()])
    name = f"canaries said that were not planted, of {len(never)}"
    yield Target(name=name, value=int(never.sum()), target=0, sense="at most")


def calibration(last: Last) -> Iterator[Target]:
    """Yield: probabilities sum to 1, chance is 1.44 bits, and a model that saw no canary has no score."""
    off = max(pooled.off for pooled in last.values())
    yield Target(name="probabilities of all 8 letters: furthest sum from 1", value=off, target=1e-6, sense="at most")
    null = [
        pooled.seen.exposure[pooled.canaries.control] for pooled in last.values() if pooled.seen.exposure is not None
    ]
    # A model's canaries are ranked by one table, and models of one seed share canaries: kinds are the units.
    means = np.array([each.mean() for each in null])
    spread = NULL_MEAN_BITS / np.sqrt(min(len(each) for each in null))
    yield Target(
        name="canaries that were not planted: mean exposure off 1.44 bits, in standard errors of one kind",
        value=float(abs(means.mean() - NULL_MEAN_BITS) / spread),
        target=3.0,
        sense="at most",
    )
    nothing = [pooled for kind, pooled in last.items() if kind.trained == "nothing planted"]
    if nothing:
        level = 1 - (1 - LEVEL) / len(nothing)
        low = max(of_rate(pooled, pooled.canaries.rungs, level).worst.low for pooled in nothing)
        name = "nothing planted: largest lower end of the score, 95 % for all architectures together"
        yield Target(name=name, value=low, target=0.0, sense="at most")


def growth(whole: Last) -> Iterator[Target]:
    """Yield: what is planted more often is remembered better, and often enough it is the worst case."""
    ranks = []
    for pooled in whole.values():
        bits = pooled.seen.bits
        rates = (0, *pooled.canaries.rungs)
        mean = [bits[(pooled.canaries.repeats == rate) & ~pooled.canaries.coin].mean() for rate in rates]
        ranks.append(float(stats.spearmanr(rates, mean).statistic))
    name = "copies against mean bits a base: rank correlation, all kinds, highest"
    yield Target(name=name, value=max(ranks), target=-0.9, sense="at most")
    low = min(of_rate(pooled, (MOST,)).worst.low for pooled in whole.values())
    yield Target(name=f"{MOST} copies: lowest lower end of the score", value=low, target=0.7, sense="at least")


def priced(last: Last) -> Iterator[Target]:
    """Yield: coins refute no ε that was paid for; Bonferroni over all kinds."""
    for epsilon in sorted({kind.epsilon for kind in last if kind.epsilon is not None}):
        here = [pooled for kind, pooled in last.items() if kind.epsilon == epsilon]
        level = 1 - (1 - LEVEL) / len(last)
        found = max(coins(pooled, private.DELTA, level).epsilon for pooled in here)
        name = f"rounds at epsilon {epsilon:g}: largest epsilon refuted by coins"
        yield Target(name=name, value=found, target=epsilon, sense="at most")


def _extracted(pooled: Pooled, rate: int) -> Array:
    """Return whether each canary of a rate is said; of a masked model, filled in."""
    found = pooled.seen.extracted
    if found is None:
        return np.zeros(0, np.bool_)
    return np.asarray(found[(pooled.canaries.repeats == rate) & ~pooled.canaries.coin])
