"""Hit rates at a fixed false-alarm rate, with intervals, and the rates that so few controls cannot speak of.

Scores are higher for those an attacker takes for members. Units are donors: one score each.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from fedgenome.audit.results import FALSE_ALARMS, GRID, LEVEL, Interval, controls_needed, smallest_false_alarms
from fedgenome.query import Array

LOW_RATES = (0.1, 0.01, 0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRate:
    """The hit rate at one false-alarm rate, or that nothing can be said of it.

    Attributes:
        false_alarms: The false-alarm rate.
        hits: The hit rate at it; None where the controls are too few.
        controls: How many controls there were.
        needed: The fewest controls that support a claim at this rate.
    """

    false_alarms: float
    hits: Interval | None
    controls: int
    needed: int

    @property
    def words(self) -> str:
        """The finding in words."""
        if self.hits is None:
            return f"not claimable from {self.controls} controls: {self.needed} are needed"
        return self.hits.words

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"words": self.words}


def low_rates(
    members: Array, controls: Array, rates: tuple[float, ...] = LOW_RATES, level: float = LEVEL
) -> tuple[LowRate, ...]:
    """Return the hit rates at ``rates``, fixed beforehand; their intervals hold together at ``level`` (Bonferroni)."""
    each = 1 - (1 - level) / len(rates)
    return tuple(
        LowRate(
            false_alarms=rate,
            hits=hit_rate(members, controls, rate, each),
            controls=len(controls),
            needed=controls_needed(rate),
        )
        for rate in rates
    )


def binomial_bounds(hits: int, n: int, tail: float) -> tuple[float, float]:
    """Return exact bounds on a rate, each missed with probability at most ``tail``."""
    low = float(special.betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(special.betainccinv(hits + 1, n - hits, tail)) if hits < n else 1.0
    return low, high


def hit_rate(members: Array, controls: Array, rate: float = FALSE_ALARMS, level: float = LEVEL) -> Interval | None:
    """Return the true-positive rate at false-alarm rate ``rate``; None where 3/n exceeds it.

    The thresholds are order statistics of the controls and are judged on members only, so nothing is
    reported on the data it was chosen on, and no half of the controls is given up. Their false-alarm
    rate is random (a beta variable whatever the scores' law), so the interval takes Clopper–Pearson
    at two other thresholds: one whose rate is above ``rate`` but for a chance of a quarter of
    1 − level, one whose rate is below. With a quarter for each Clopper–Pearson end the four chances
    add up to 1 − level: the interval holds at least at its level, for any n and with ties.
    """
    m, n = len(members), len(controls)
    if n == 0 or smallest_false_alarms(n) > rate:
        return None
    tail = (1 - level) / 4
    descending = np.sort(controls)[::-1]
    expected = math.floor(rate * (n + 1))  # P(control > its k-th highest) is k/(n+1) on average
    strict = int(stats.binom.ppf(tail, n, rate))
    loose = int(stats.binom.isf(tail, n, rate)) + 1
    sure = int((members > descending[strict - 1]).sum()) if strict >= 1 else 0
    at_most = int((members >= descending[loose - 1]).sum()) if loose <= n else m
    return Interval(
        estimate=float((members > descending[expected - 1]).mean()),
        low=binomial_bounds(sure, m, tail)[0],
        high=binomial_bounds(at_most, m, tail)[1],
        level=level,
        method="Clopper–Pearson at order statistics of the controls",
    )


def curve(members: Array, controls: Array) -> tuple[float, ...]:
    """Return the highest true-positive rate at each false-alarm rate of ``GRID`` (empirical ROC)."""
    n = len(controls)
    descending = np.append(np.sort(controls)[::-1], -np.inf)
    allowed = np.floor(np.asarray(GRID) * n + 1e-9).astype(int)
    ascending = np.sort(members)
    above = len(members) - np.searchsorted(ascending, descending[allowed], side="right")
    return tuple(float(x) for x in above / len(members))
