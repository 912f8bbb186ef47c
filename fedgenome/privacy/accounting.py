"""What a plan costs: (ε, δ) by privacy loss distributions (DESIGN §6).

All Gaussian queries of a plan are composed together, Poisson sampling included, under add-or-remove
adjacency; a selection adds its level for each winner. Loading this module loads dp_accounting and
SciPy (over a second), so that roles which start fast import it inside the functions that price.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from fedgenome.addition import BLOCK_TAIL
from fedgenome.errors import SpecError, require
from fedgenome.privacy import losses
from fedgenome.query import MOST_ELEMENTS, PARTIES, Mechanism
from fedgenome.selection import WRAP_TAIL
from fedgenome.study import Plan

Priced = tuple[tuple[float, float, int], ...]  # (noise multiplier, sampling rate, count), sorted: the cache key

SAMPLER_TV = 4e-27  # bound on the distance of one draw from the discrete Gaussian; secure.noise stays below it
_INTERVAL = 1e-3  # grid of the privacy loss; tighter and faster than RDP and PRV at this width
_LARGEST_RHO = 1e4  # zCDP beyond which the grid would take gigabytes: the closed bound is returned
_TOLERANCE = 1e-3  # relative width at which calibration stops
_MOST_STEPS = 200  # four or five are usual
_DOUBLINGS = 24  # noise levels looked at lie in 2^-24 ... 2^24


def epsilon(plan: Plan, delta: float) -> float:
    """Return the ε at which ``plan`` is (ε, ``delta``)-differentially private; 0.0 for the empty plan.

    Gaussian queries are composed by PLD, rounded pessimistically; each selection of k winners adds k times its
    level, which sampling is not allowed to lower. Where a query is noised plays no part: a donor is at one site.

    Args:
        delta: What is left of δ after :func:`delta_slack`.

    Raises:
        SpecError: unless 0 < delta < 1.
    """
    require(0 < delta < 1, "0 < delta < 1", delta=delta)
    counts: Counter[tuple[float, float]] = Counter()
    for m in plan.mechanisms:
        if m.kind == "gaussian":
            counts[m.level, m.sampling] += m.count
    selections = math.fsum(m.level * m.winners * m.count for m in plan.mechanisms if m.kind == "exponential")
    return selections + _gaussians(tuple(sorted((*form, count) for form, count in counts.items())), delta)


@functools.lru_cache(maxsize=1024)
def _gaussians(priced: Priced, delta: float) -> float:
    if not priced:
        return 0.0
    rho = math.fsum(count / (2 * level**2) for level, _, count in priced)
    if rho > _LARGEST_RHO:  # Bun & Steinke 2016, Prop. 1.3; sampling only lowers the cost
        return rho + 2 * math.sqrt(rho * math.log(1 / delta))
    forms = (losses.gaussian(level, sampling, count, _INTERVAL) for level, sampling, count in priced)
    return float(functools.reduce(lambda one, other: one.compose(other), forms).get_epsilon_for_delta(delta))


def by_scope(plan: Plan, delta: float) -> dict[str, float]:
    """Return the ε of each scope of ``plan`` on its own. Their sum is at least the plan's ε."""
    scopes = dict.fromkeys(m.scope for m in plan.mechanisms)
    return {s: epsilon(Plan(mechanisms=tuple(m for m in plan.mechanisms if m.scope == s)), delta) for s in scopes}


def delta_slack(
    plan: Plan, coordinates: int, *, epsilon: float, parties: int = PARTIES, total_variation: float = SAMPLER_TV
) -> float:
    """Return what has to be taken off δ before ``plan`` is calibrated or priced (DESIGN §6).

    Three failures are paid for by δ. A Poisson sample larger than the micro-batches charged for: its
    chance does not depend on the donor in question, so it is added as it is, for every sampled query
    (float64 answers do not need it). A noise sampler that is not exact: ``(1 + e^ε)`` times the distance.
    A selection's noise beyond its ring, where comparisons turn round: ``(1 + e^ε)·e^-46`` for each winner. (Their
    sampler's own distance, below 1e-86 a query, is lost in what that union bound counts too much.)

    Args:
        coordinates: Most numbers that any query of the plan answers with.
        epsilon: The target ε of the whole plan.
        parties: Honest noise makers, at most.
        total_variation: Distance of one draw of the sampler from the discrete Gaussian.
    """
    noised = [m for m in plan.mechanisms if m.kind == "gaussian"]
    batches = sum(m.count for m in noised if m.sampling < 1)
    draws = coordinates * parties * sum(m.count for m in noised)
    winners = sum(m.winners * m.count for m in plan.mechanisms if m.kind == "exponential")
    wrapped = math.exp(-WRAP_TAIL) * winners
    return BLOCK_TAIL * batches + (1 + math.exp(epsilon)) * (total_variation * draws + wrapped)


def usable(plan: Plan, epsilon: float, delta: float) -> float:
    """Return the δ that is left for the noise of ``plan``: what every role prices and calibrates at.

    Args:
        epsilon: The Study's ε.
        delta: The Study's δ.

    Raises:
        SpecError: nothing is left, as for an ε so large that it means nothing.
    """
    slack = delta_slack(plan, MOST_ELEMENTS, epsilon=min(epsilon, 700.0))
    require(
        slack < delta / 2, "an epsilon and delta that leave half of delta for the noise", epsilon=epsilon, delta=delta
    )
    return delta - slack


def priced(plan: Plan, epsilon_: float, delta: float) -> float:
    """Return what ``plan`` costs where the Study says (``epsilon_``, ``delta``): what it may not exceed."""
    return epsilon(plan, usable(plan, epsilon_, delta))


def calibrate(plan_at: Callable[[float], Plan], epsilon: float, delta: float) -> float:
    """Return the smallest noise level at which ``plan_at(level)`` costs at most ``epsilon``.

    To a relative 1e-3, from above: the level returned always meets the target.

    Args:
        plan_at: The plan at a noise level; its ε falls as the level grows.
        epsilon: Target, above 0.
        delta: What is left of δ after :func:`delta_slack`.

    Raises:
        SpecError: no level between 2^-24 and 2^24 meets the target, or every level does.
    """
    require(epsilon > 0, "epsilon > 0", epsilon=epsilon)
    price = functools.partial(_price, plan_at, delta)
    low, high = _bracket(price, epsilon)
    for k in range(_MOST_STEPS):
        if high <= low * (1 + _TOLERANCE):
            break
        middle = _between(low, high, epsilon, price, upwards=k % 2 == 0)
        low, high = (low, middle) if price(middle) <= epsilon else (middle, high)
    return high


def _price(plan_at: Callable[[float], Plan], delta: float, level: float) -> float:
    return epsilon(plan_at(level), delta)


def _bracket(price: Callable[[float], float], target: float) -> tuple[float, float]:
    """Return neighbouring powers of two, the first too little noise and the second enough."""
    falling = price(1.0) <= target
    for k in range(_DOUBLINGS):
        if falling and price(2.0 ** (-k - 1)) > target:
            return 2.0 ** (-k - 1), 2.0**-k
        if not falling and price(2.0 ** (k + 1)) <= target:
            return 2.0**k, 2.0 ** (k + 1)
    rule = "a plan with a query in it" if falling else "an epsilon that some noise level meets"
    raise SpecError(f"expected {rule}, looked at levels from 1 to 2^{-_DOUBLINGS if falling else _DOUBLINGS}")


def _between(low: float, high: float, target: float, price: Callable[[float], float], *, upwards: bool) -> float:
    """Return a level inside the bracket near where log ε, taken as linear in log level, meets the target.

    Alternately a little above and a little below, so that both ends close in; never within a sixteenth of
    an end of a wide bracket, so that it always shrinks.
    """
    most, least = price(low), price(high)
    if not 0 < least < most < math.inf:
        return math.sqrt(low * high)
    part = math.log(most / target) / math.log(most / least)
    nudge = _TOLERANCE / 3 / math.log(high / low)
    part += nudge if upwards else -nudge
    inside: float = min(max(part, 1 / 16), 15 / 16)
    return low * math.exp(inside * math.log(high / low))


def collusion(plan: Plan, delta: float, colluders_assumed: int, colluders_real: int) -> float:
    """Return the ε of ``plan`` against ``colluders_real`` parties, where t were assumed (:func:`colluded`).

    What is taken off δ grows with ε, and this ε is larger than the Study's: it pays for itself here.

    Args:
        delta: The Study's whole δ.

    Raises:
        SpecError: it is so large that too little of δ is left; see :func:`usable`.
    """
    seen = colluded(plan, colluders_assumed, colluders_real)
    least, most = epsilon(seen, delta), 0.0
    while least > most:
        most = least * (1 + _TOLERANCE)
        least = epsilon(seen, usable(plan, most, delta))
    return least


def colluded(plan: Plan, colluders_assumed: int, colluders_real: int) -> Plan:
    """Return ``plan`` as ``colluders_real`` parties see it who take their own noise off the sum.

    Each of three parties adds variance σ²/(3 − t), so that 3 − r honest ones leave
    σ²·(3 − r)/(3 − t). Noise that a site adds at home and selections, where each party alone adds the
    full noise, stay as they are. (The 4 ring units² that pay for discreteness are left out: a relative
    2/(level · Δ_ring)², under 1e-4 for sums of 500 numbers and more at level 1.)

    Args:
        colluders_assumed: t of the Study.
        colluders_real: How many really collude, 0 to 2; with all three nothing is hidden.
    """
    for name, value in (("colluders_assumed", colluders_assumed), ("colluders_real", colluders_real)):
        require(0 <= value < PARTIES, f"0 <= {name} < {PARTIES}", **{name: value})
    factor = math.sqrt((PARTIES - colluders_real) / (PARTIES - colluders_assumed))
    return Plan(mechanisms=tuple(_scaled(m, factor) for m in plan.mechanisms))


def _scaled(mechanism: Mechanism, factor: float) -> Mechanism:
    joint = mechanism.kind == "gaussian" and mechanism.where == "parties"
    return replace(mechanism, level=mechanism.level * factor) if joint else mechanism
