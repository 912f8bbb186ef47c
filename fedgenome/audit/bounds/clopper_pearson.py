"""ε from hits and false alarms at a threshold, by exact binomial bounds.

Trials must be independent: runs of their own, or canaries that do not move one another's scores. Canaries of one run
share a model; ``one_run`` and ``f_dp`` need no independence. A rule is a bound at one threshold; ``thresholds`` says
which threshold, and pays for the choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scipy import special

from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.bounds.tradeoffs import epsilon_between, epsilon_of
from fedgenome.errors import require

ASSUMES = "members' and controls' trials are independent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Who scored above a threshold; all that a site has to tell.

    Attributes:
        hits: Members (or planted canaries, or runs with the record) above it.
        members: All of them.
        false_alarms: Controls above it.
        controls: All of them.
    """

    hits: int
    members: int
    false_alarms: int
    controls: int

    def __post_init__(self) -> None:
        require(
            0 <= self.hits <= self.members and 0 <= self.false_alarms <= self.controls,
            "0 <= hits <= members and 0 <= false_alarms <= controls",
            hits=self.hits,
            members=self.members,
            false_alarms=self.false_alarms,
            controls=self.controls,
        )
        require(min(self.members, self.controls) >= 1, "a member and a control", members=self.members)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A bound at one threshold.

    Attributes:
        name: The bound.
        assumes: What it rests on.
        delta: δ of the guarantee tested.
        low: Counts and chance of a false alarm to a lower bound, 0 where nothing is refuted.
        epsilon: The lower bound as ε at ``delta``.
        is_mu: Whether the lower bound is a μ of Gaussian DP.
    """

    name: str
    assumes: str
    delta: float
    low: Callable[[Counts, float], float]
    epsilon: Callable[[float], float] = float
    is_mu: bool = False


def epsilon(counts: Counts, significance: float, delta: float = 0.0, copies: int = 1) -> float:
    """Return the ε refuted by ``counts``: ln((TPR_low − δ)/FPR_high), or ln((TNR_low − δ)/FNR_high) if larger.

    Both rates are bounded at ``significance``/2 by Clopper–Pearson; TNR_low is 1 − FPR_high, so that the other
    direction costs nothing more.

    Source: Jagielski, Ullman & Oprea 2020; δ as in Nasr et al. 2021 (arXiv 2101.04535).

    Args:
        counts: At a threshold that the choice of is paid for.
        significance: Chance of a bound above the true ε.
        delta: δ of the guarantee tested.
        copies: How often the record was in the data; its group is what was seen.
    """
    hits, alarms = _ends(counts, significance)
    return max(epsilon_between(hits, alarms, delta, copies), epsilon_between(1 - alarms, 1 - hits, delta, copies))


def mu(counts: Counts, significance: float) -> float:
    """Return the μ refuted by ``counts`` where the trade-off curve is Gaussian: Φ⁻¹(1 − FPR_high) − Φ⁻¹(FNR_high).

    Source: Nasr et al. 2023 (arXiv 2302.07956).
    """
    hits, alarms = _ends(counts, significance)
    if hits <= alarms:  # also where either end is 0 or 1
        return 0.0
    return float(special.ndtri(hits) - special.ndtri(alarms))


def _ends(counts: Counts, significance: float) -> tuple[float, float]:
    require(0 < significance < 1, "0 < significance < 1", significance=significance)
    hits = binomial_bounds(counts.hits, counts.members, significance / 2)[0]
    return hits, binomial_bounds(counts.false_alarms, counts.controls, significance / 2)[1]


def rule(delta: float = 0.0, copies: int = 1) -> Rule:
    """Return the Clopper–Pearson bound on ε at ``delta``, for a record that was in the data ``copies`` times."""
    require(0 <= delta < 1 and copies >= 1, "0 <= delta < 1 and copies >= 1", delta=delta, copies=copies)
    name = "Clopper–Pearson" + (f", {copies} copies" if copies > 1 else "")
    return Rule(name=name, assumes=ASSUMES, delta=delta, low=lambda seen, tail: epsilon(seen, tail, delta, copies))


def gaussian_rule(delta: float) -> Rule:
    """Return the bound by way of μ. It is conditional: larger than the truth may be where the curve is not Gaussian."""
    return Rule(
        name="Gaussian DP (Nasr et al. 2023), conditional",
        assumes=f"{ASSUMES}; the release's trade-off curve is Gaussian",
        delta=delta,
        low=mu,
        epsilon=lambda found: epsilon_of(found, delta),
        is_mu=True,
    )
