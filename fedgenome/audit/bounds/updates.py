"""Canary updates: whether a random direction that one participant sent shows in what came out of the sum.

A canary is a random unit vector of d numbers, drawn before the run; its statistic is the cosine with the released
update (or final model less the first). If it was not sent the cosine's law is known in closed form, whatever the
update: no reference runs are needed.

Source: Andrew et al. 2023 (arXiv 2302.03098).
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.bounds.search import require_level
from fedgenome.audit.bounds.tradeoffs import epsilon_between, two_gaussians
from fedgenome.audit.results import LEVEL, EpsilonBound
from fedgenome.errors import require
from fedgenome.query import Array

ASSUMES = "canaries are independent random directions, and one's hit does not move another's (far fewer than d)"
_FEWEST = 2  # dimensions: in one the cosine is ±1


def cosines(canaries: Array, update: Array) -> Array:
    """Return the cosine of each canary with ``update``, float64 (canaries,); 0 where either is zero.

    Args:
        canaries: Directions, (canaries, d).
        update: What was released, (d,).
    """
    require(canaries.ndim == 2 and update.shape == canaries.shape[1:], "canaries (n, d), update (d,)", d=update.shape)
    rows, one = canaries.astype(np.float64), update.astype(np.float64)
    length = np.linalg.norm(rows, axis=1) * np.linalg.norm(one)
    return np.asarray(np.divide(rows @ one, length, out=np.zeros(len(rows)), where=length > 0))


def p_values(cosines: Array, dimension: int) -> Array:
    """Return P(cosine ≥ seen) of canaries that were not sent, float64 (canaries,).

    Exact: cos² is Beta(1/2, (d − 1)/2), which N(0, 1/d) is the limit of.
    """
    require(dimension >= _FEWEST, f"dimension >= {_FEWEST}", dimension=dimension)
    beyond = special.betaincc(0.5, (dimension - 1) / 2, np.minimum(np.square(cosines), 1.0)) / 2
    return np.where(np.asarray(cosines) >= 0, beyond, 1 - beyond)


def threshold(rate: float, dimension: int) -> float:
    """Return the cosine that canaries which were not sent exceed with probability ``rate``."""
    require(0 < rate <= 0.5, "0 < rate <= 0.5", rate=rate)
    require(dimension >= _FEWEST, f"dimension >= {_FEWEST}", dimension=dimension)
    return math.sqrt(float(special.betainccinv(0.5, (dimension - 1) / 2, 2 * rate)))


def p_value(cosines: Array, dimension: int, looks: int = 1) -> float:
    """Return the p-value of "no canary was sent", one-sided: Stouffer's sum of the canaries' own.

    Args:
        cosines: Of every canary, (canaries,).
        dimension: d.
        looks: How many rounds' updates were looked at, this being the best (Bonferroni).
    """
    require(len(cosines) >= 1 and looks >= 1, "a canary and a look", canaries=len(cosines), looks=looks)
    normal = -special.ndtri(p_values(cosines, dimension))
    return min(1.0, looks * float(special.ndtr(-normal.sum() / math.sqrt(len(cosines)))))


def epsilon(cosines: Array, dimension: int, delta: float, rate: float = 0.01, level: float = LEVEL) -> EpsilonBound:
    """Return the ε refuted by how many canaries that were sent exceed a threshold fixed by its false-alarm ``rate``.

    ε = ln((TPR_low − δ)/rate): the false-alarm rate is known, so that only the hits are bounded (Clopper–Pearson).

    Args:
        cosines: Of the canaries that were sent, (canaries,).
        dimension: d.
        delta: δ of the guarantee tested, whose unit is who sends a canary.
        rate: Fixed beforehand.
        level: One-sided confidence.
    """
    hits = int((cosines > threshold(rate, dimension)).sum())
    low = binomial_bounds(hits, len(cosines), require_level(level))[0]
    method = f"canary updates (Andrew et al. 2023) at {rate:g} false alarms"
    return EpsilonBound(
        epsilon=epsilon_between(low, rate, delta), delta=delta, level=level, method=method, assumes=ASSUMES
    )


def estimate(cosines: Array, dimension: int, delta: float) -> float:
    """Return the ε between N(0, 1/d) and the normal law of the canaries that were sent.

    An estimate, not a bound: it has no confidence, and takes both laws for normal (d ≥ 1,000 or so).
    """
    require(len(cosines) >= 2, "at least 2 canaries", canaries=len(cosines))
    spread = float(np.std(cosines, ddof=1))
    return two_gaussians(float(np.mean(cosines)), spread, 1 / math.sqrt(dimension), delta)
