"""ε from one run with many canaries, each in or out by a coin of its own.

m canaries; the auditor guesses the coins of r of them from the released model alone, v guesses are right. Which
canaries are guessed may depend on the model, never on the coins; r is fixed beforehand, or paid for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import special

from fedgenome.audit.bounds.search import largest, require_level
from fedgenome.audit.results import LEVEL, EpsilonBound
from fedgenome.errors import require
from fedgenome.query import Array

ASSUMES = "each canary was in by a fair coin of its own; guesses come from the model, not from the coins"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """How the guessing went; all that a site has to tell.

    Attributes:
        canaries: m, those with a coin, guessed or not.
        made: r, guesses made.
        right: v, guesses that were right.
    """

    canaries: int
    made: int
    right: int

    def __post_init__(self) -> None:
        rule = "0 <= right <= made <= canaries and at least 1 canary"
        seen = {"right": self.right, "made": self.made, "canaries": self.canaries}
        require(0 <= self.right <= self.made <= self.canaries and self.canaries >= 1, rule, **seen)


def guess(scores: Array, planted: Array, highest: int, lowest: int = 0) -> Guesses:
    """Guess "in" for the ``highest`` scores and "out" for the ``lowest``; the rest are not guessed.

    Where scores tie at the edge wrong guesses are counted first: the order of the canaries in the arrays may
    follow their coins, and must not help.

    Args:
        scores: Score of each canary, larger for those taken for members, (m,).
        planted: Whether each canary was in, bool (m,).
        highest: How many to guess "in", fixed before the scores were seen.
        lowest: How many to guess "out".
    """
    require(scores.shape == planted.shape and scores.ndim == 1, "a coin for every score", scores=scores.shape)
    require(bool(np.isfinite(scores).all()), "finite scores")
    require(
        min(highest, lowest) >= 0 and highest + lowest <= len(scores),
        "as many guesses as canaries, at most",
        highest=highest,
        lowest=lowest,
        canaries=len(scores),
    )
    coins = planted.astype(np.bool_)
    right = _right(scores, coins, highest) + _right(-scores, ~coins, lowest)
    return Guesses(canaries=len(scores), made=highest + lowest, right=right)


def _right(scores: Array, true: Array, guesses: int) -> int:
    if guesses == 0:
        return 0
    edge = np.partition(scores, -guesses)[-guesses]
    above, tied = scores > edge, scores == edge
    sure = int(true[above].sum())
    return sure + max(0, guesses - int(above.sum()) - int((~true[tied]).sum()))


def p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """Return the p-value of "the release is (``epsilon``, ``delta``)-DP for each canary", one-sided.

    p = min(1, β + 2mδα), with q = 1/(1 + e^−ε), β = P[Bin(r, q) ≥ v] and
    α = max over 1 ≤ i ≤ v of P[v > Bin(r, q) ≥ v − i]/i. Below .5 it grows with ε.

    Source: Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846), Appendix D.
    """
    require(epsilon >= 0 and 0 <= delta <= 1, "epsilon >= 0 and 0 <= delta <= 1", epsilon=epsilon, delta=delta)
    r, v, q = guesses.made, guesses.right, special.expit(epsilon)
    beta = float(special.bdtrc(v - 1, r, q))
    if delta == 0 or v == 0:
        return beta
    i = np.arange(1, v + 1)
    alpha = float(((special.bdtrc(v - i - 1.0, r, q) - beta) / i).max())
    return min(1.0, beta + 2 * guesses.canaries * delta * max(alpha, 0.0))


def epsilon(guesses: Guesses, delta: float, level: float = LEVEL) -> EpsilonBound:
    """Return the ε refuted by one set of ``guesses``, whose number was fixed beforehand."""
    tail = require_level(level)
    return _bound(largest(lambda e: p_value(guesses, e, delta) < tail), delta, level, "r fixed beforehand")


def best(tries: Iterable[Guesses], delta: float, level: float = LEVEL) -> EpsilonBound:
    """Return the largest ε refuted by any of several numbers of guesses, each at its share of 1 − ``level``.

    Without the share the best of √m × √m numbers of guesses reports ε > 0 for a model that saw nothing in a third
    of all audits; see docs/auditing.md.
    """
    every = tuple(tries)
    require(len(every) >= 1, "at least one number of guesses")
    tail, found = require_level(level) / len(every), 0.0
    for each in every:
        found = largest(lambda e, each=each: p_value(each, e, delta) < tail, found)  # type: ignore[misc]
    return _bound(found, delta, level, f"Bonferroni over {len(every)} numbers of guesses")


def detectable(canaries: int, made: int, delta: float, power: float = 0.8, level: float = LEVEL) -> float:
    """Return the share of right guesses at which some ε > 0 is refuted with probability ``power``.

    What the audit could have found, for the sentence "not refuted at this power". 1.0 also where even ``made`` right
    guesses refute nothing: then there are too few.
    """
    tail = require_level(level)
    least, most = 0, made + 1  # fewest right guesses that refute ε = 0, by halving: p falls with them
    while least < most:
        middle = (least + most) // 2
        refutes = middle > made or _at_zero(canaries, made, middle, delta) < tail
        least, most = (least, middle) if refutes else (middle + 1, most)
    return float(special.betaincinv(least, made - least + 1, power)) if least <= made else 1.0


def _at_zero(canaries: int, made: int, right: int, delta: float) -> float:
    return p_value(Guesses(canaries=canaries, made=made, right=right), 0.0, delta)


def _bound(found: float, delta: float, level: float, how: str) -> EpsilonBound:
    method = f"one run (Steinke et al. 2023), {how}"
    return EpsilonBound(epsilon=found, delta=delta, level=level, method=method, assumes=ASSUMES)
