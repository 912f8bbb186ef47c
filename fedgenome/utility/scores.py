"""Accuracy and macro-F1 of predictions, with bootstrap intervals over donors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedgenome.errors import require
from fedgenome.query import Array

LEVEL = 0.95
RESAMPLES = 1000


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
class _Counts:
    """Per donor: rows, right rows, and for each true class its hits, its predictions, its truths."""

    rows: Array  # float64 (donors,)
    right: Array  # float64 (donors,)
    hits: Array  # float64 (donors, classes)
    predicted: Array
    true: Array


def accuracy_and_f1(
    truth: Array, predicted: Array, donor: Array, rng: np.random.Generator
) -> tuple[Estimate, Estimate]:
    """Return accuracy and macro-F1 over the classes that occur in ``truth``.

    A class never predicted has F1 = 0. In a resample that neither holds nor predicts a class its F1
    is undefined and left out of that resample's mean.

    Args:
        truth: Classes, int (rows,).
        predicted: Classes, int (rows,).
        donor: Whose row it is, int (rows,): donors are resampled whole.
        rng: Draws the resamples; the same state resamples the same donors.
    """
    require(len(truth) > 0, "at least one test row")
    counts = _count(truth, predicted, donor)
    once = np.ones((1, len(counts.rows)))
    # Multinomial weights: how often each donor is drawn.
    many = rng.multinomial(len(counts.rows), np.full(len(counts.rows), 1 / len(counts.rows)), RESAMPLES)
    return tuple(  # type: ignore[return-value]
        _estimate(figure(counts, once)[0], figure(counts, many.astype(np.float64))) for figure in (_accuracy, _macro_f1)
    )


def _count(truth: Array, predicted: Array, donor: Array) -> _Counts:
    _, who = np.unique(donor, return_inverse=True)
    classes = np.unique(truth)

    def per_donor(flags: Array) -> Array:
        out = np.zeros((who.max() + 1, *flags.shape[1:]))
        np.add.at(out, who, flags)
        return out

    is_true, is_predicted = truth[:, None] == classes, predicted[:, None] == classes
    return _Counts(
        rows=per_donor(np.ones(len(truth))),
        right=per_donor(truth == predicted),
        hits=per_donor(is_true & is_predicted),
        predicted=per_donor(is_predicted),
        true=per_donor(is_true),
    )


def _accuracy(counts: _Counts, weights: Array) -> Array:
    return np.asarray((weights @ counts.right) / (weights @ counts.rows))


def _macro_f1(counts: _Counts, weights: Array) -> Array:
    hits, among = weights @ counts.hits, weights @ (counts.predicted + counts.true)
    each = np.divide(2 * hits, among, out=np.zeros_like(hits), where=among > 0)
    return np.asarray(each.sum(axis=1) / (among > 0).sum(axis=1))


def _estimate(value: float, resampled: Array) -> Estimate:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(estimate=float(value), low=float(low), high=float(high))
