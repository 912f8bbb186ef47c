"""What scores of five targets achieve together, where everybody is a member of four of them and a control of one.

Scores of one person are dependent, persons are not: intervals count persons. An AUC's variance is DeLong's with a
person's five parts added first, TPR − FPR is a mean over persons of what each adds to it, and TPR at a low FPR is told
by a draw in which everybody is a member once. All hold for the five models as they are.
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


def ranked(scores: Scores, inside: Mask) -> Interval:
    """Return the mean over targets of the AUC, each target's controls being those it left out.

    The interval is normal, and has no width where everybody is told apart.

    Source: Obuchowski 1997, "Nonparametric Analysis of Clustered ROC Curve Data".
    """
    areas, parts = np.empty(len(scores)), np.empty(scores.shape)
    for k, (own, member) in enumerate(zip(scores, inside, strict=True)):
        m, n = int(member.sum()), int((~member).sum())
        among = np.empty(len(own))
        among[member], among[~member] = stats.rankdata(own[member]), stats.rankdata(own[~member])
        beaten = (stats.rankdata(own) - among) / np.where(member, n, m)  # share of the others who are below
        areas[k] = beaten[member].mean()
        parts[k] = np.where(member, (beaten - areas[k]) / m, (1 - beaten - areas[k]) / n)
    people = scores.shape[1]
    deviation = math.sqrt(float((parts.mean(0) ** 2).sum()) * people / (people - 1))
    return _normal(float(areas.mean()), deviation, (0.0, 1.0), "DeLong, clustered by person")


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


def threshold(scores: Scores, inside: Mask) -> float:
    """Return the score from which on members are told best."""
    return best_threshold(scores[inside], scores[~inside])


def advantage(scores: Scores, inside: Mask, at: float) -> Interval:
    """Return TPR − FPR at a threshold that was fixed on other models.

    It is the mean over persons of the share of targets with them that call them members, less whether the one without
    them does; the interval is normal.
    """
    called = scores >= at
    own = (called & inside).sum(0) / inside.sum(0) - (called & ~inside).sum(0)
    return _normal(float(own.mean()), float(own.std(ddof=1)) / math.sqrt(len(own)), (-1.0, 1.0), "mean over persons")


def _normal(estimate: float, deviation: float, ends: tuple[float, float], method: str) -> Interval:
    half = float(stats.norm.isf((1 - LEVEL) / 2)) * deviation
    low, high = max(ends[0], estimate - half), min(ends[1], estimate + half)
    return Interval(estimate=estimate, low=low, high=high, level=LEVEL, method=method)
