"""Which threshold a bound is read at, and what the choice costs.

The best of many thresholds is not a bound: a search has to be paid for. Scores are higher for those an attacker takes
for members, one score a unit; above means strictly above.
"""

from __future__ import annotations

import numpy as np

from fedgenome.audit.bounds.clopper_pearson import Counts, Rule
from fedgenome.audit.bounds.search import require_level
from fedgenome.audit.results import LEVEL, EpsilonBound
from fedgenome.errors import require
from fedgenome.query import Array

SPLITS = 25


def counts_at(members: Array, controls: Array, threshold: float) -> Counts:
    """Return who scores above ``threshold``."""
    return Counts(
        hits=int((members > threshold).sum()),
        members=len(members),
        false_alarms=int((controls > threshold).sum()),
        controls=len(controls),
    )


def bonferroni(members: Array, controls: Array, rule: Rule, thresholds: Array, level: float = LEVEL) -> EpsilonBound:
    """Return the best bound over ``thresholds``, each at its share of 1 − ``level``.

    Args:
        members: Scores, float (m,).
        controls: Scores, float (n,).
        rule: The bound at a threshold.
        thresholds: Fixed beforehand, or the controls' own scores: then, as with ``rates.hit_rate``, the false-alarm
            rate above the k-th highest is a beta variable whose bound is Clopper–Pearson's own, and members are
            judged at a threshold they had no part in. Never the members' scores, nor a maximum over either.
        level: One-sided confidence.
    """
    require(len(thresholds) >= 1, "at least one threshold")
    tail = require_level(level) / len(thresholds)
    found = _best(members, controls, rule, np.unique(thresholds), tail)[0]
    how = "one threshold fixed beforehand" if len(thresholds) == 1 else f"Bonferroni over {len(thresholds)} thresholds"
    return _bound(found, rule, level, how)


def split(members: Array, controls: Array, rule: Rule, rng: np.random.Generator, level: float = LEVEL) -> EpsilonBound:
    """Return the bound at the threshold that is best on one half of members and controls, judged on the other."""
    found = _halved(members, controls, rule, rng, require_level(level))
    return _bound(found, rule, level, "threshold from the other half")


def multi_split(
    members: Array,
    controls: Array,
    rule: Rule,
    rng: np.random.Generator,
    splits: int = SPLITS,
    level: float = LEVEL,
) -> EpsilonBound:
    """Return the median bound of ``splits`` random halvings, each at half of 1 − ``level``.

    That half the splits are wrong together has at most twice the chance of one (Markov): hence the half. It depends
    less on the draw than one split does.

    Source: Meinshausen, Meier & Bühlmann 2009, Theorem 3.1.
    """
    require(splits >= 1, "splits >= 1", splits=splits)
    tail = require_level(level) / 2
    every = [_halved(members, controls, rule, rng, tail) for _ in range(splits)]
    return _bound(float(np.median(every)), rule, level, f"median of {splits} splits")


def _halved(members: Array, controls: Array, rule: Rule, rng: np.random.Generator, tail: float) -> float:
    require(min(len(members), len(controls)) >= 2, "2 members and 2 controls", members=len(members))
    (choose_in, judge_in), (choose_out, judge_out) = (_two(scores, rng) for scores in (members, controls))
    threshold = _best(choose_in, choose_out, rule, np.unique(choose_out), tail)[1]
    return rule.low(counts_at(judge_in, judge_out, threshold), tail)


def _two(scores: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    shuffled = rng.permutation(scores)
    return shuffled[: len(scores) // 2], shuffled[len(scores) // 2 :]


def _best(members: Array, controls: Array, rule: Rule, thresholds: Array, tail: float) -> tuple[float, float]:
    every = [(rule.low(counts_at(members, controls, t), tail), float(t)) for t in thresholds]
    return max(every, key=lambda pair: pair[0])


def _bound(found: float, rule: Rule, level: float, how: str) -> EpsilonBound:
    return EpsilonBound(
        epsilon=rule.epsilon(found),
        delta=rule.delta,
        level=level,
        method=f"{rule.name}, {how}",
        assumes=rule.assumes,
        mu=found if rule.is_mu else None,
    )
