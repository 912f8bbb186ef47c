"""What Table I's noise costs: as it was printed, and as privacy loss distributions have it.

Printed: Rényi divergences of the sampled Gaussian (Mironov, Talwar & Zhang 2019) at a fixed list of orders, converted
by ε = T·rdp(α) + ln(1/δ)/(α − 1) (Mironov 2017, Prop. 3). The list begins at 1.1, and with little noise that end is
what ε is read at: 9 and 22 times what the losses themselves give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from fedgenome.privacy import losses

DELTA = 1e-5
ORDERS = (*(1 + k / 10 for k in range(1, 100)), *range(12, 64))
_REACH, _FINE = 14, 20  # of the integral: standard deviations beyond both ends, and steps of one
_GRID = 1e-3  # of the losses, in units of those of one query that draws the donor


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Steps of DP-SGD over Poisson samples.

    Attributes:
        sigma: Noise multiplier.
        sampling: Chance of a row to be in a batch.
        count: How many steps.
    """

    sigma: float
    sampling: float
    count: int

    @classmethod
    def of(cls, sigma: float, rows: int, batch: int, epochs: int) -> Steps:
        """Return the steps of ``epochs`` over ``rows`` rows, ``batch`` of them expected at a time."""
        return cls(sigma=sigma, sampling=batch / rows, count=round(epochs * rows / batch))


def divergence(steps: Steps, order: float) -> float:
    """Return rdp(``order``) of one step, for fractional orders too: the integral of a log-convex sum, by trapezia.

    Source: Mironov, Talwar & Zhang 2019, section 3.3, whose series this replaces.
    """
    sigma, q = steps.sigma, steps.sampling
    z = np.arange(-_REACH * sigma, order + _REACH * sigma, sigma / _FINE)
    ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * z - 1) / (2 * sigma**2))
    moment = logsumexp(order * ratio - np.square(z / sigma) / 2) - math.log(_FINE * math.sqrt(2 * math.pi))
    return float(moment / (order - 1))


def printed(steps: Steps, delta: float = DELTA) -> tuple[float, float]:
    """Return ε as tensorflow-privacy had it then, and the order that it was read at."""
    return min((steps.count * divergence(steps, a) + math.log(1 / delta) / (a - 1), a) for a in ORDERS)


def tight(steps: Steps, delta: float = DELTA) -> float:
    """Return ε by privacy loss distributions, rounded upwards, on a grid that grows with the losses."""
    interval = _GRID * max(1.0, 1 / (2 * steps.sigma**2))
    found = losses.gaussian(steps.sigma, steps.sampling, steps.count, interval)
    return float(found.get_epsilon_for_delta(delta))
