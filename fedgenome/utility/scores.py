"""Accuracy, macro-F1 and macro-AUPRC of predictions, with bootstrap intervals over donors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedgenome.errors import require
from fedgenome.query import Array

LEVEL = 0.95
RESAMPLES = 1000
_BLOCK = 1 << 22  # weights held at once: 32 MiB
FIGURES = ("accuracy", "macro_f1", "auprc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure with its two-sided percentile interval over resampled test donors."""

    estimate: float
    low: float
    high: float
    level: float = LEVEL
    method: str = f"percentile bootstrap over test donors, {RESAMPLES} draws"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a classifier said of test rows.

    Attributes:
        truth: Classes, int (rows,).
        predicted: Classes, int (rows,).
        ranked: How sure it is of each class of ``np.unique(truth)``, float (rows, classes).
        donor: Whose row it is, int (rows,): donors are resampled whole.
    """

    truth: Array
    predicted: Array
    ranked: Array
    donor: Array

    def __post_init__(self) -> None:
        require(len(self.truth) > 0, "at least one test row")
        shape = (len(self.truth), len(self.classes))
        require(self.ranked.shape == shape, "a score for each test row and class", shape=self.ranked.shape)

    @property
    def classes(self) -> Array:
        """The classes of the test rows, sorted."""
        return np.unique(self.truth)

    @property
    def who(self) -> tuple[Array, int]:
        """(index of each row's donor, number of donors)."""
        donors, who = np.unique(self.donor, return_inverse=True)
        return who, len(donors)


def estimates(answers: Answers, rng: np.random.Generator) -> tuple[Estimate, Estimate, Estimate]:
    """Return accuracy, macro-F1 and macro-AUPRC over the classes of the test rows, with intervals.

    A class never predicted has F1 = 0. In a resample without a class its AUPRC, and without any prediction of it
    too its F1, is undefined and left out of that resample's mean. AUPRC is scikit-learn's average precision, one
    class against the rest.

    Args:
        rng: Draws the resamples; the same state resamples the same donors.
    """
    _, donors = answers.who
    # Multinomial weights: how often each donor is drawn.
    many = rng.multinomial(donors, np.full(donors, 1 / donors), RESAMPLES).astype(np.float64)
    found, resampled = points(answers), _figures(answers, many)
    return tuple(_estimate(value, each) for value, each in zip(found, resampled, strict=True))  # type: ignore[return-value]


def points(answers: Answers) -> tuple[float, float, float]:
    """Return accuracy, macro-F1 and macro-AUPRC without intervals; see :func:`estimates`."""
    accuracy, f1, auprc = _figures(answers, np.ones((1, answers.who[1])))
    return float(accuracy[0]), float(f1[0]), float(auprc[0])


def _figures(answers: Answers, weights: Array) -> tuple[Array, ...]:
    """Return the three figures under each row of ``weights`` (draws, donors), float64 (draws,) each."""
    who, _ = answers.who
    step = max(1, _BLOCK // len(who))
    parts = [_block(answers, weights[i : i + step][:, who]) for i in range(0, len(weights), step)]
    return tuple(np.concatenate(each) for each in zip(*parts, strict=True))


def _block(answers: Answers, weight: Array) -> tuple[Array, Array, Array]:
    accuracy = (weight @ (answers.truth == answers.predicted)) / weight.sum(axis=1)
    return accuracy, _macro_f1(answers, weight), _macro_auprc(answers, weight)


def _macro_f1(answers: Answers, weight: Array) -> Array:
    true, predicted = (labels[:, None] == answers.classes for labels in (answers.truth, answers.predicted))
    hits, among = weight @ (true & predicted), weight @ (true.astype(np.float64) + predicted)
    each = np.divide(2 * hits, among, out=np.zeros_like(hits), where=among > 0)
    return np.asarray(each.sum(axis=1) / (among > 0).sum(axis=1))


def _macro_auprc(answers: Answers, weight: Array) -> Array:
    positive = answers.truth[:, None] == answers.classes
    each = [_average_precision(answers.ranked[:, k], positive[:, k], weight) for k in range(positive.shape[1])]
    return np.asarray(np.nanmean(np.stack(each), axis=0))


def _average_precision(score: Array, positive: Array, weight: Array) -> Array:
    """Return Σ (recall_k − recall_{k−1}) · precision_k over falling thresholds, (draws,); NaN without a positive."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # rows of equal score are taken together
    hits = np.cumsum(weight[:, order] * positive[order], axis=1)[:, ends]
    seen = np.cumsum(weight[:, order], axis=1)[:, ends]
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    total = hits[:, -1]
    found = (np.diff(hits, axis=1, prepend=0.0) * precision).sum(axis=1)
    return np.asarray(np.divide(found, total, out=np.full_like(found, np.nan), where=total > 0))


def _estimate(value: float, resampled: Array) -> Estimate:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(estimate=float(value), low=float(low), high=float(high))
