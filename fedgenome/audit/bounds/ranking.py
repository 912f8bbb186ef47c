"""How well scores rank members above controls: AUC with its interval, p-value and power.

Scores are higher for those an attacker takes for members. Units are donors: one score each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

from fedgenome.audit.results import LEVEL, Interval
from fedgenome.errors import require
from fedgenome.query import Array


def auc(members: Array, controls: Array) -> float:
    """Return P(member's score > control's), ties counted half."""
    ranks = stats.rankdata(np.concatenate([members, controls]))[: len(members)]
    m = len(members)
    return float((ranks.sum() - m * (m + 1) / 2) / (m * len(controls)))


def auc_interval(members: Array, controls: Array, level: float = LEVEL) -> Interval:
    """Return the AUC with an interval at least as wide as DeLong's and as Newcombe's.

    DeLong's variance fits any shape of scores but vanishes where the groups do not overlap or where
    all scores tie; Newcombe's score interval (2006, method 5) does not. Each end is the wider one.

    Args:
        members: Scores, float (m,), m ≥ 2.
        controls: Scores, float (n,), n ≥ 2.
        level: Two-sided confidence.
    """
    m, n = len(members), len(controls)
    require(m >= 2 and n >= 2, "at least 2 members and 2 controls", members=m, controls=n)
    require(bool(np.isfinite(members).all() and np.isfinite(controls).all()), "finite scores")
    area, z = auc(members, controls), float(stats.norm.isf((1 - level) / 2))
    half = z * math.sqrt(_delong_variance(members, controls))
    return Interval(
        estimate=area,
        low=max(0.0, min(area - half, _newcombe_low(area, m, n, z))),
        high=min(1.0, max(area + half, 1 - _newcombe_low(1 - area, m, n, z))),
        level=level,
        method="wider of DeLong and Newcombe (2006) method 5",
    )


def _delong_variance(members: Array, controls: Array) -> float:
    m, n = len(members), len(controls)
    ranks = stats.rankdata(np.concatenate([members, controls]))
    beaten = (ranks[:m] - stats.rankdata(members)) / n  # share of controls below each member
    beating = (ranks[m:] - stats.rankdata(controls)) / m
    return float(beaten.var(ddof=1) / m + beating.var(ddof=1) / n)


def _newcombe_low(area: float, m: int, n: int, z: float) -> float:
    if area <= 0:
        return 0.0
    middle = (m + n) / 2 - 1

    def beyond(a: float) -> float:
        variance = a * (1 - a) * (1 + middle * (1 - a) / (2 - a) + middle * a / (1 + a)) / (m * n)
        return area - a - z * math.sqrt(variance)

    # At 1 the variance vanishes: start below it, where a perfect attack is still `beyond` its bound.
    top = min(area, 1 - 1e-12)
    return float(optimize.brentq(beyond, 0.0, top)) if beyond(top) < 0 else top


def chance_p_value(members: Array, controls: Array) -> float:
    """Return the one-sided Mann–Whitney p-value of "members score no higher than controls"."""
    if np.ptp(np.concatenate([members, controls])) == 0:
        return 1.0  # a constant score says nothing, and has no variance to divide by
    return float(stats.mannwhitneyu(members, controls, alternative="greater", method="asymptotic").pvalue)


def detectable_auc(members: int, controls: int, tests: int, power: float = 0.8, level: float = LEVEL) -> float:
    """Return the AUC that ``tests`` attacks together find above chance with probability ``power``.

    Normal approximation at the null's variance, one-sided, Bonferroni over the attacks. A generator
    that copies a share f of the members verbatim has AUC ≈ (1 + f)/2, so f ≈ 2·AUC − 1.
    """
    spread = math.sqrt((members + controls + 1) / (12 * members * controls))
    z: Callable[[float], float] = stats.norm.isf
    return min(1.0, 0.5 + float(z((1 - level) / tests) + z(1 - power)) * spread)
