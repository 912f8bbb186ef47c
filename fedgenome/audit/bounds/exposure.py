"""Exposure: by how many bits a canary stands out among its like.

A canary is drawn uniformly from a space R; its rank is by log-perplexity, 1 for the lowest. One that was not planted
has P(exposure ≥ t) ≤ 2^−t and 1/ln 2 = 1.44 bits on average: the largest of many is high by chance alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from fedgenome.audit.bounds.search import require_level
from fedgenome.audit.bounds.tradeoffs import epsilon_between
from fedgenome.audit.results import LEVEL, EpsilonBound
from fedgenome.errors import require
from fedgenome.query import Array

NULL_MEAN_BITS = 1 / math.log(2)
MOST_BITS = 50.0  # the skew-normal's lower tail is a difference of two numbers: below 2^-50 nothing of it is left
FIT_REFUSED = 0.01  # p of Kolmogorov–Smirnov below which an extrapolation is not to be believed


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extrapolated:
    """Exposures beyond the references' number, and whether the curve they rest on fits.

    Attributes:
        bits: Exposure of each canary, float64 (canaries,), at most ``MOST_BITS``.
        fit_p_value: Kolmogorov–Smirnov p of the half of the references that the curve was not fitted to.
    """

    bits: Array
    fit_p_value: float

    @property
    def fits(self) -> bool:
        """Whether the curve may be believed inside the references' range; beyond it nothing can tell."""
        return self.fit_p_value >= FIT_REFUSED


def exact(canaries: Array, space: Array) -> Array:
    """Return log2|R| − log2 rank, float64 (canaries,): every string of R is scored.

    Ties count against the canary.

    Source: Carlini et al. 2019 (arXiv 1802.08232), Definition 4.

    Args:
        canaries: Log-perplexities, float (canaries,), those of R among them.
        space: Log-perplexity of all of R, the canaries too, float (|R|,).
    """
    ranks = np.searchsorted(np.sort(space), canaries, side="right")
    require(bool((ranks >= 1).all()), "every canary among the scores of the space")
    return np.asarray(math.log2(len(space)) - np.log2(ranks))


def sampled(canaries: Array, references: Array) -> Array:
    """Return log2 n − log2(1 + references at or below the canary), n references drawn from R; at most log2 n.

    Ties count against the canary. Source: Carlini et al. 2019, Section 4.3 (by sampling).

    Args:
        canaries: Log-perplexities, float (canaries,).
        references: Log-perplexities of strings drawn as canaries are and not planted, float (n,).
    """
    require(len(references) >= 1, "at least one reference")
    ranks = 1 + np.searchsorted(np.sort(references), canaries, side="right")
    return np.asarray(math.log2(len(references)) - np.log2(ranks))


def extrapolated(canaries: Array, references: Array, rng: np.random.Generator) -> Extrapolated:
    """Return −log2 F(canary), F a skew-normal fitted to half of the references and tested on the other half.

    A test on the references that F was fitted to would pass too easily. Even a good fit says nothing of the tail:
    no bound may rest on these bits.

    Source: Carlini et al. 2019, Section 4.3 (by distribution modelling).
    """
    require(len(references) >= 20, "at least 20 references", references=len(references))
    require(bool(np.isfinite(references).all() and np.isfinite(canaries).all()), "finite log-perplexities")
    shuffled = rng.permutation(references)
    half = len(shuffled) // 2
    fitted = stats.skewnorm(*stats.skewnorm.fit(shuffled[:half]))
    below = np.maximum(fitted.cdf(canaries), 2.0**-MOST_BITS)
    return Extrapolated(bits=-np.log2(below), fit_p_value=float(stats.kstest(shuffled[half:], fitted.cdf).pvalue))


def mean_p_value(bits: Array) -> float:
    """Return the p-value of "no canary stands out" by the mean exposure, one-sided.

    Under the null bits·ln 2 is at most exponential, and a sum of n a gamma variable, where canaries are ranked
    independently: each in all of R, or among references of its own. References shared by canaries as many as they
    make their ranks alike; use ``ranking.chance_p_value`` there.
    """
    require(len(bits) >= 1, "at least one canary")
    return float(special.gammaincc(len(bits), max(0.0, float(np.sum(bits)) * math.log(2))))


def epsilon(bits: float, delta: float, *, copies: int = 1, canaries: int = 1, level: float = LEVEL) -> EpsilonBound:
    """Return the ε refuted by the exposure of one canary, the highest of ``canaries`` if that is what was looked for.

    With the canary in r times P(exposure ≥ t) ≤ e^{rε} 2^−t + δ (e^{rε} − 1)/(e^ε − 1); without δ that gives
    ε = (t ln 2 + ln(1 − level))/r.

    Args:
        bits: Exposure, exact or sampled; not extrapolated.
        delta: δ of the guarantee tested.
        copies: r, how often each canary was in the data.
        canaries: How many were looked at (Bonferroni).
        level: One-sided confidence.
    """
    require(canaries >= 1, "canaries >= 1", canaries=canaries)
    found = epsilon_between(require_level(level) / canaries, 2.0**-bits, delta, copies)
    how = "one canary fixed beforehand" if canaries == 1 else f"Bonferroni over {canaries} canaries"
    return EpsilonBound(
        epsilon=found,
        delta=delta,
        level=level,
        method=f"exposure, {how}, {copies} {'copy' if copies == 1 else 'copies'}",
        assumes="each canary was drawn uniformly from the space that it is ranked in",
    )
