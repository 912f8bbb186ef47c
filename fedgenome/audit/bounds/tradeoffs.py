"""Trade-off curves: what a guarantee lets a test of one record's presence achieve, and what μ says in (ε, δ).

A guarantee bounds the false-alarm rate from below at each hit rate. Every function here is exact up to rounding: an
accountant rounds ε up, which a lower bound must not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import optimize, special

from fedgenome.audit.bounds.search import largest
from fedgenome.errors import require

Least = Callable[[float], float]  # hit rate -> the least false-alarm rate at which the guarantee allows it


def gaussian(mu: float) -> Least:
    """Return the curve of ``mu``-Gaussian DP: Φ(Φ⁻¹(hits) − μ).

    Source: Dong, Roth & Su 2022, Definition 2.6.
    """
    return lambda hits: float(special.ndtr(special.ndtri(hits) - mu))


def approximate(epsilon: float, delta: float) -> Least:
    """Return the curve of (``epsilon``, ``delta``)-DP: the larger of e^−ε (hits − δ) and 1 − δ − e^ε (1 − hits).

    Source: Wasserman & Zhou 2010; Dong, Roth & Su 2022, Proposition 2.5.
    """
    require(epsilon >= 0 and 0 <= delta < 1, "epsilon >= 0 and 0 <= delta < 1", epsilon=epsilon, delta=delta)
    shrink, grow = math.exp(-epsilon), math.exp(min(epsilon, 700.0))
    return lambda hits: max(0.0, shrink * (hits - delta), 1 - delta - grow * (1 - hits))


def delta_of(mu: float, epsilon: float) -> float:
    """Return the least δ at which ``mu``-Gaussian DP gives (``epsilon``, δ): Φ(μ/2 − ε/μ) − e^ε Φ(−μ/2 − ε/μ).

    Source: Dong, Roth & Su 2022, Corollary 2.13.
    """
    require(mu > 0, "mu > 0", mu=mu)
    with_donor = float(special.log_ndtr(mu / 2 - epsilon / mu))
    without = epsilon + float(special.log_ndtr(-mu / 2 - epsilon / mu))
    return math.exp(with_donor) * -math.expm1(min(without - with_donor, 0.0))


def epsilon_of(mu: float, delta: float) -> float:
    """Return the least ε at which ``mu``-Gaussian DP gives (ε, ``delta``); 0.0 for μ = 0.

    Raises:
        SpecError: unless mu ≥ 0 and 0 < delta < 1.
    """
    require(mu >= 0 and 0 < delta < 1, "mu >= 0 and 0 < delta < 1", mu=mu, delta=delta)
    if mu == 0 or delta_of(mu, 0.0) <= delta:
        return 0.0
    enough = mu * (mu / 2 - float(special.ndtri(delta)))  # there the first term of δ alone is `delta`
    return float(optimize.brentq(lambda epsilon: delta_of(mu, epsilon) - delta, 0.0, enough, xtol=1e-12))


def two_gaussians(mean: float, spread: float, null_spread: float, delta: float) -> float:
    """Return the least ε at which N(``mean``, ``spread``²) and N(0, ``null_spread``²) are (ε, ``delta``)-close.

    Both directions; where the spreads differ the likelihood ratio is not monotone, and the best event is an
    interval or what lies outside one.

    Source: Andrew et al. 2023 (arXiv 2302.03098), Section 3; numerically there, in closed form here.
    """
    require(spread > 0 and null_spread > 0, "spreads above 0", spread=spread, null_spread=null_spread)
    require(0 < delta < 1, "0 < delta < 1", delta=delta)
    planted, null = (mean, spread), (0.0, null_spread)
    return largest(lambda e: max(_beyond(planted, null, e), _beyond(null, planted, e)) > delta)


def _beyond(one: tuple[float, float], other: tuple[float, float], epsilon: float) -> float:
    """Return max P(S) − e^ε Q(S): S is where log p − log q exceeds ε, a quadratic inequality."""
    (a, s), (b, t) = one, other
    square = (1 / t**2 - 1 / s**2) / 2
    linear = a / s**2 - b / t**2
    constant = (b**2 / t**2 - a**2 / s**2) / 2 + math.log(t / s) - epsilon
    edges = _roots(square, linear, constant)
    inside = square < 0 or (square == 0 and linear < 0)  # whether S is left of, or between, its edges
    if not edges:  # nowhere, or everywhere and then for no ε ≥ 0 above 0
        return 0.0
    return _mass(one, edges, inside) - math.exp(min(epsilon, 700.0)) * _mass(other, edges, inside)


def _roots(square: float, linear: float, constant: float) -> tuple[float, ...]:
    if square == 0:
        return (-constant / linear,) if linear else ()
    under = linear**2 - 4 * square * constant
    if under <= 0:
        return ()
    far = -(linear + math.copysign(math.sqrt(under), linear)) / 2  # the sum without cancellation
    return tuple(sorted((far / square, constant / far if far else 0.0)))


def _mass(law: tuple[float, float], edges: tuple[float, ...], inside: bool) -> float:
    z = [(edge - law[0]) / law[1] for edge in edges]
    if len(z) == 1:
        return float(special.ndtr(z[0] if inside else -z[0]))
    if not inside:
        return float(special.ndtr(z[0]) + special.ndtr(-z[1]))
    return float(special.ndtr(z[1]) - special.ndtr(z[0]))


def group_delta(epsilon: float, delta: float, copies: int) -> float:
    """Return the δ of ``copies`` records together under (``epsilon``, ``delta``)-DP: δ(1 + e^ε + … + e^{(r−1)ε}).

    Source: Vadhan 2017, Lemma 2.2.
    """
    return delta * math.fsum(math.exp(min(i * epsilon, 700.0)) for i in range(copies))


def epsilon_between(present: float, absent: float, delta: float = 0.0, copies: int = 1) -> float:
    """Return the end of the ε refuted by an event of probability ``present`` with a record and ``absent`` without.

    Refuted is what has e^{rε}·absent + δ_r < present, r the copies of the record.
    """
    require(copies >= 1, "copies >= 1", copies=copies)
    require(0 <= delta < 1, "0 <= delta < 1", delta=delta)
    if present <= absent + delta * copies:
        return 0.0
    if copies == 1 or delta == 0:
        return max(0.0, math.log((present - delta) / absent) / copies) if absent > 0 else math.inf
    most = math.log1p(1 / delta)  # there δ_r exceeds 1 for r ≥ 2
    return largest(lambda e: e < most and math.exp(copies * e) * absent + group_delta(e, delta, copies) < present)
