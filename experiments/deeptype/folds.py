"""Accuracies of a group's models, each on the people whom it left out, as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.deeptype.people import People
from experiments.synthesis import judge
from fedgenome.query import Array

Row = dict[str, Any]


def right(logits: Array, who: People, inside: Array) -> list[float]:
    """Return how often each model is right about the rows that it left out.

    Args:
        logits: What each says of every row, (models, rows, classes).
        who: Whose rows.
        inside: Which rows trained each, bool (models, rows).
    """
    told = logits.argmax(2) == who.label
    return [float(one[~seen].mean()) for one, seen in zip(told, inside, strict=True)]


def accuracy(each: Sequence[float], majority: Sequence[float]) -> Row:
    """Return mean and standard deviation over folds, what the commonest class gives, and the difference with its ends.

    Args:
        each: Accuracies, one a fold, at least two.
        majority: Of always naming the training people's commonest class, one a fold.
    """
    deviation = round(float(np.std(each, ddof=1)), 4)
    row = {"accuracy": round(float(np.mean(each)), 4), "accuracy sd": deviation}
    return row | {"majority": round(float(np.mean(majority)), 4)} | apart("less majority", each, majority)


def apart(what: str, one: Sequence[float], other: Sequence[float]) -> Row:
    """Return the mean difference of accuracies over the same folds and the ends of its t interval."""
    each = np.subtract(one, other).tolist()
    low, high = judge.interval(each)
    told = {"": float(np.mean(each)), " low": low, " high": high}
    return {f"accuracy {what}{end}": round(value, 4) for end, value in told.items()}
