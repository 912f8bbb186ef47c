"""What scores of five targets achieve together, where everybody is a member of four of them and a control of one.

Scores of one person are dependent, persons are not: intervals count persons. The variance of an AUC is DeLong's, and
that of TPR − FPR is the binomial one, with a person's five parts added before they are squared; TPR at a low FPR is
told by draws in which everybody is a member once. All hold for the five models as they are.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from fedgenome.audit.bounds import rates
from fedgenome.audit.membership.thresholds import best_threshold
from fedgenome.audit.results import LEVEL, Interval
from fedgenome.errors import require

Scores = npt.NDArray[np.float64]  # (targets, persons), larger for members
Mask = npt.NDArray[np.bool_]  # (targets, persons): who trained each

RATE = 0.01  # of false alarms


def ranked(scores: Scores, inside: Mask, outside: Mask | None = None) -> Interval:
    """Return the mean over targets of the AUC of members against controls.

    The interval is normal, and has no width where everybody is told apart.

    Args:
        scores: Of every person under every target.
        inside: Each target's members.
        outside: Its controls; None: all whom it left out.

    Source: Obuchowski 1997, "Nonparametric Analysis of Clustered ROC Curve Data".
    """
    others = ~inside if outside is None else outside
    areas, parts = np.empty(len(scores)), np.zeros(scores.shape)
    for k, (own, member, control) in enumerate(zip(scores, inside, others, strict=True)):
        m, n = int(member.sum()), int(control.sum())
        ranks = stats.rankdata(np.concatenate([own[member], own[control]]))
        above = (ranks[:m] - stats.rankdata(own[member])) / n  # share of the controls who are below each member
        below = (ranks[m:] - stats.rankdata(own[control])) / m
        areas[k] = above.mean()
        parts[k, member], parts[k, control] = (above - areas[k]) / m, (1 - below - areas[k]) / n
    return _normal(float(areas.mean()), parts.mean(0), (0.0, 1.0), "DeLong, clustered by person")


def hits(scores: Scores, inside: Mask, rate: float = RATE) -> Interval:
    """Return the true-positive rate at false-alarm rate ``rate``, at one threshold for all targets.

    Everybody is a control once and a member several times: estimate and ends are means over as many draws, in each
    of which everybody is a member once. Ties are split by coins.

    Raises:
        SpecError: too few persons to speak of ``rate``.
    """
    split = untied(scores).T
    controls, members = split[~inside.T], split[inside.T].reshape(len(split), -1)
    each = [seen for own in members.T if (seen := rates.hit_rate(own, controls, rate)) is not None]
    require(len(each) == members.shape[1], f"at least {3 / rate:g} persons", persons=len(controls))
    mean = {name: float(np.mean([getattr(seen, name) for seen in each])) for name in ("estimate", "low", "high")}
    return Interval(**mean, level=LEVEL, method=each[0].method)


def untied(scores: Scores) -> Scores:
    """Return the scores' ranks, ties split by coins, as who wants a given rate of false alarms must.

    Otherwise scores of two values, such as correctness, could not be bounded at a rate between theirs.
    """
    order = np.lexsort((np.random.default_rng(0).random(scores.size), scores.ravel()))
    return np.argsort(order).reshape(scores.shape).astype(np.float64)


def threshold(scores: Scores, inside: Mask, outside: Mask | None = None) -> float:
    """Return the score from which on members are told best."""
    return best_threshold(scores[inside], scores[~inside if outside is None else outside])


def advantage(scores: Scores, inside: Mask, at: float, outside: Mask | None = None) -> Interval:
    """Return TPR − FPR over all targets at a threshold that was fixed on other models; the interval is normal."""
    called, others = scores >= at, ~inside if outside is None else outside
    hit, alarm = called[inside].mean(), called[others].mean()
    parts = np.where(inside, (called - hit) / inside.sum(), 0) - np.where(others, (called - alarm) / others.sum(), 0)
    return _normal(float(hit - alarm), parts.sum(0), (-1.0, 1.0), "normal, clustered by person")


def told(name: str, seen: Interval | None) -> dict[str, float | None]:
    """Return an interval as columns of a table: the estimate under its name, and both ends."""
    ends = {"": "estimate", " low": "low", " high": "high"}
    return {f"{name}{end}": None if seen is None else round(getattr(seen, of), 4) for end, of in ends.items()}


def _normal(estimate: float, parts: Scores, ends: tuple[float, float], method: str) -> Interval:
    """Return a normal interval of a sum of persons' ``parts``, (persons,), each less its mean."""
    deviation = math.sqrt(float((parts**2).sum()) * len(parts) / (len(parts) - 1))
    half = float(stats.norm.isf((1 - LEVEL) / 2)) * deviation
    low, high = max(ends[0], estimate - half), min(ends[1], estimate + half)
    return Interval(estimate=estimate, low=low, high=high, level=LEVEL, method=method)
