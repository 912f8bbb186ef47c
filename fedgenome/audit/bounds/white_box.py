"""How much noise a mechanism really adds: thousands of cheap runs of one query, a Dirac canary present or absent.

A Dirac canary puts the whole clip norm on one coordinate, which is looked at alone. Without sampling one query is
Gaussian DP with μ = 1/z, so that a bound on μ is a bound on the noise multiplier z, and what one training run cannot
see (half noise, a party's noise missing) shows in seconds. Runs are independent; nobody's data are in them.

Source: Nasr et al. 2023 (arXiv 2302.07956), white-box threat model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from fedgenome.audit.bounds import clopper_pearson
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.bounds.search import require_level
from fedgenome.audit.bounds.thresholds import counts_at
from fedgenome.audit.bounds.tradeoffs import epsilon_of
from fedgenome.audit.results import LEVEL, EpsilonBound, Interval
from fedgenome.query import Array

_LEAST_P = 1e-100


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFound:
    """What one query's runs say.

    Attributes:
        mu: μ of one query, two-sided.
        counts: Runs above the threshold.
    """

    mu: Interval
    counts: Counts

    @property
    def noise_multiplier(self) -> Interval:
        """The noise multiplier 1/μ; infinite ends where μ may be 0."""
        ends = [math.inf if end == 0 else 1 / end for end in (self.mu.estimate, self.mu.high, self.mu.low)]
        estimate, low, high = ends
        return Interval(estimate=estimate, low=low, high=high, level=self.mu.level, method=self.mu.method)

    def epsilon(self, delta: float, queries: int = 1) -> EpsilonBound:
        """Return the ε that ``queries`` such queries, none of them sampled, cost at least: μ·√queries."""
        mu = self.mu.low * math.sqrt(queries)
        return EpsilonBound(
            epsilon=epsilon_of(mu, delta),
            delta=delta,
            level=(1 + self.mu.level) / 2,
            method=f"white-box runs of one query, {queries} composed",
            assumes="runs are independent; the noise is Gaussian, the same in every query, and no query is sampled",
            mu=mu,
        )


def noise_found(present: Array, absent: Array, threshold: float, level: float = LEVEL) -> NoiseFound:
    """Return the μ of one query from runs with the canary and without.

    Args:
        present: The canary's coordinate in the runs that held it, float (runs,).
        absent: The same coordinate in runs that did not, float (runs,).
        threshold: Fixed beforehand; half of the clip norm is best.
        level: Two-sided confidence.
    """
    require_level(level)
    counts = counts_at(present, absent, threshold)
    tail = (1 - level) / 2  # each end is a bound of two rates, and takes half of it for each
    return NoiseFound(
        mu=Interval(
            estimate=_mu(counts.hits / counts.members, counts.false_alarms / counts.controls),
            low=clopper_pearson.mu(counts, tail),
            high=_most(counts, tail),
            level=level,
            method="Clopper–Pearson at a threshold fixed beforehand, Gaussian noise",
        ),
        counts=counts,
    )


def p_value(counts: Counts, mu: float) -> float:
    """Return the p-value of "the query is ``mu``-Gaussian DP", one-sided, at least 1e-100.

    It is the least significance at which the Clopper–Pearson bound exceeds ``mu``, hence a little too large.
    """
    low, high = _LEAST_P, 1 - 1e-9
    if clopper_pearson.mu(counts, high) <= mu:
        return 1.0
    if clopper_pearson.mu(counts, low) > mu:
        return low
    while high / low > 1 + 1e-6:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if clopper_pearson.mu(counts, middle) > mu else (middle, high)
    return high


def _most(counts: Counts, tail: float) -> float:
    hits = binomial_bounds(counts.hits, counts.members, tail / 2)[1]
    return _mu(hits, binomial_bounds(counts.false_alarms, counts.controls, tail / 2)[0])


def _mu(hits: float, alarms: float) -> float:
    if hits <= alarms:
        return 0.0
    return float(special.ndtri(hits) - special.ndtri(alarms))
