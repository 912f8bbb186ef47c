"""Privacy loss distributions of sampled Gaussian queries, by many losses at once. The one module over dp_accounting.

The distribution is the library's: its pessimistic Connect-the-Dots discretization of its own loss of the sampled
Gaussian, its bounds, its truncation, its convolution of different queries, its ε. Its loops over single losses and
over the orders of a Chernoff bound, four fifths of its time, are array expressions here; tests hold the two together.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from dp_accounting.pld.pld_pmf import DensePLDPmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from scipy import fft

Array = npt.NDArray[np.float64]

_TRUNCATED = 1e-15  # mass that a composition may count as an infinite loss, as in the library
_ORDERS = 20  # of the Chernoff bound, up and down


def gaussian(level: float, sampling: float, count: int, interval: float) -> PrivacyLossDistribution:
    """Return the distribution of ``count`` Gaussian queries, rounded pessimistically to a grid of losses.

    Adding and removing one donor are kept apart: where the query is sampled neither is known to dominate.

    Args:
        level: Noise multiplier, above 0.
        sampling: Rate of the Poisson sample, in (0, 1].
        count: How many such queries, at least 1.
        interval: Width of the grid.
    """
    if sampling == 1:  # count queries are one with less noise (Dong, Roth & Su 2022, Corollary 3.3), and symmetric
        return PrivacyLossDistribution(_composed(AdjacencyType.REMOVE, level / math.sqrt(count), 1.0, 1, interval))
    remove, add = (
        _composed(adjacency, level, sampling, count, interval)
        for adjacency in (AdjacencyType.REMOVE, AdjacencyType.ADD)
    )
    return PrivacyLossDistribution(remove, add)


class _Loss(GaussianPrivacyLoss):  # type: ignore[misc]
    """The library's privacy loss at sensitivity 1, whose inverse takes an array."""

    def get_delta_for_epsilon(self, epsilon: Array) -> Array:
        """Return the hockey-stick divergence at each ε of an array: P(x ≤ c) − e^ε Q(x ≤ c), loss(c) = ε.

        Any c gives a lower bound of the divergence and the right one its maximum, so that c's rounding is of no
        consequence to first order.
        """
        with np.errstate(divide="ignore"):  # losses beyond those that occur have their c at infinity
            c = self._inverse(epsilon)
        delta: Array = self.mu_upper_cdf(c) - np.exp(epsilon + self.mu_lower_log_cdf(c))
        return delta.clip(0.0, 1.0)

    def _inverse(self, losses: Array) -> Array:
        """Return c with loss(c) = ``losses``; the loss falls as c grows."""
        variance = float(self.standard_deviation) ** 2
        if self.adjacency_type == AdjacencyType.REMOVE:
            return -0.5 - _unsampled(losses, self.sampling_prob) * variance
        return 0.5 + _unsampled(-losses, self.sampling_prob) * variance


def _unsampled(losses: Array, q: float) -> Array:
    """Return log(1 + (e^loss − 1)/q): the loss of a query of which a q-sampled one has ``losses``, −inf at least.

    Two forms of one number: the first keeps its digits near 0, the second does not overflow.
    """
    small = np.log1p(np.maximum(np.expm1(np.minimum(losses, 1.0)) / q, -1.0))
    large = losses - math.log(q) + np.log1p(-(1 - q) * np.exp(-np.maximum(losses, 1.0)))
    return np.where(losses < 1.0, small, large)


def _composed(adjacency: AdjacencyType, level: float, q: float, count: int, interval: float) -> DensePLDPmf:
    """Return ``count`` queries' distribution, as the library's own record."""
    loss = _Loss(level, sampling_prob=q, adjacency_type=adjacency)
    bounds = loss.connect_dots_bounds()
    lowest = math.floor(bounds.epsilon_lower / interval)
    grid = np.arange(lowest, math.ceil(bounds.epsilon_upper / interval) + 1)
    probs, infinite = _dots(loss.get_delta_for_epsilon(grid * interval), interval)
    if count > 1:
        start, probs = _self_convolved(probs, count)
        lowest = lowest * count + start
        infinite = _TRUNCATED - math.expm1(count * math.log1p(-infinite))
    return DensePLDPmf(interval, lowest, probs, infinite, True)


def _dots(deltas: Array, interval: float) -> tuple[Array, float]:
    """Return the masses of losses ``interval`` apart, and of an infinite one, whose divergences are ``deltas``.

    Between the dots the divergence of these masses is linear in e^ε, so never below the true one, which is convex.
    Source: Doroshenko et al. 2022, Algorithm 1.
    """
    deltas = np.minimum.accumulate(deltas)
    steps = np.diff(deltas)
    probs = (np.append(steps, 0.0) - math.exp(interval) * np.append(0.0, steps)) / math.expm1(interval)
    probs[0] += 1 - deltas[0]
    return np.maximum(probs, 0.0), float(deltas[-1])


def _self_convolved(probs: Array, count: int) -> tuple[int, Array]:
    """Return ``probs`` convolved with itself, from which index on; at most ``_TRUNCATED`` lies outside."""
    low, high = _span(probs, count)
    size = fft.next_fast_len(max(high - low + 1, len(probs)), real=True)
    spectrum: npt.NDArray[Any] = fft.rfft(probs, size)
    return low, np.roll(fft.irfft(spectrum**count, size), -low)[: high - low + 1]


def _span(probs: Array, count: int) -> tuple[int, int]:
    """Return the first and last index of a self-convolution beyond each of which lies half of ``_TRUNCATED`` at most.

    Chernoff: P(sum ≥ b) ≤ M(k)^count·e^(−kb). Orders are k/len, so that powers of one array hold every M(k).
    """
    n, tail = len(probs), math.log(2 / _TRUNCATED)
    low, high = 0, (n - 1) * count
    base = np.exp(np.arange(n) / n)
    up, down = probs, probs
    for k in range(1, _ORDERS + 1):
        up, down = up * base, down / base
        high = min(high, math.ceil((count * math.log(up.sum()) + tail) * n / k))
        low = max(low, math.floor((count * math.log(down.sum()) + tail) * n / -k))
    return low, high
