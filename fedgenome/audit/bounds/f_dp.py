"""ε from one run, tested against a whole trade-off curve: tighter than (ε, δ) where the curve is right.

The game is that of ``one_run``, or one with k candidates for each canary: one of them, drawn uniformly, is in, and
the auditor says which. With two candidates "in" and "out" the curve is that of adding or removing a record; with k
real candidates it is that of replacing one.
"""

from __future__ import annotations

from collections.abc import Callable

from fedgenome.audit.bounds.one_run import ASSUMES, Guesses
from fedgenome.audit.bounds.search import largest, require_level
from fedgenome.audit.bounds.tradeoffs import Least, approximate, epsilon_of, gaussian
from fedgenome.audit.results import LEVEL, EpsilonBound
from fedgenome.errors import require

_LEAST_P = 1e-100


def refuted(guesses: Guesses, curve: Least, significance: float, candidates: int = 2) -> bool:
    """Return whether so many right guesses have probability below ``significance`` under ``curve``.

    With p_s the probability of s right guesses among r, let R = Σ_{s≥t} (s/m) p_s and H = Σ_{s≥t} ((r − s)/m) p_s.
    A right guess is at most as likely as the curve lets it be, given a wrong one: H_{t−1} ≥ (k − 1)·curve(R_t). From
    R_v = τ·v/m and H_v = τ·(r − v)/m this runs down to t = 0; R_0 + H_0 cannot exceed r/m, the share of guesses.

    Source: Mahloujifar, Melis & Chaudhuri 2025 (arXiv 2410.22235), `audit_rh_with_cap`.

    Args:
        guesses: One set of guesses, r fixed beforehand.
        curve: Hit rate to least false-alarm rate; convex, as curves of tests are.
        significance: τ, in (0, 1].
        candidates: k, at least 2.
    """
    require(candidates >= 2, "candidates >= 2", candidates=candidates)
    m, r, v = guesses.canaries, guesses.made, guesses.right
    right, wrong = significance * v / m, significance * (r - v) / m
    for t in range(v - 1, -1, -1):
        least = (candidates - 1) * curve(min(right, 1.0))
        if least <= wrong:
            break  # neither sum moves any more
        right, wrong = right + t / (r - t) * (least - wrong), least
    return right + wrong > r / m


def p_value(guesses: Guesses, curve: Least, candidates: int = 2) -> float:
    """Return the least significance at which ``guesses`` refute ``curve``, at least 1e-100; 1.0 if none does."""
    low, high = _LEAST_P, 1.0
    if guesses.made == 0 or not refuted(guesses, curve, high, candidates):
        return 1.0
    if refuted(guesses, curve, low, candidates):
        return low
    while high / low > 1 + 1e-6:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if refuted(guesses, curve, middle, candidates) else (middle, high)
    return high


def gaussian_epsilon(guesses: Guesses, delta: float, level: float = LEVEL, candidates: int = 2) -> EpsilonBound:
    """Return the ε at ``delta`` of the largest μ such that μ-Gaussian DP is refuted.

    It refutes Gaussian mechanisms. A release whose true curve is another, such as one with a small chance of
    disaster, can be (ε, δ)-DP below this ε.
    """
    mu = _end(guesses, gaussian, level, candidates)
    assumes = f"{ASSUMES}; the release's trade-off curve is Gaussian"
    return EpsilonBound(
        epsilon=epsilon_of(mu, delta), delta=delta, level=level, method=_name(candidates), assumes=assumes, mu=mu
    )


def approximate_epsilon(guesses: Guesses, delta: float, level: float = LEVEL, candidates: int = 2) -> EpsilonBound:
    """Return the largest ε such that the curve of (ε, ``delta``)-DP is refuted; no assumption on the mechanism."""
    found = _end(guesses, lambda e: approximate(e, delta), level, candidates)
    return EpsilonBound(epsilon=found, delta=delta, level=level, method=_name(candidates), assumes=ASSUMES)


def _end(guesses: Guesses, curve: Callable[[float], Least], level: float, candidates: int) -> float:
    tail = require_level(level)
    return largest(lambda x: refuted(guesses, curve(x), tail, candidates)) if guesses.made else 0.0


def _name(candidates: int) -> str:
    return f"one run, f-DP (Mahloujifar et al. 2025), {candidates} candidates, r fixed beforehand"
