"""What every family of figures shares: a figure's name and words, its value or why there is none, and settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from fedgenome.errors import require

CLASSIFIERS = ("logistic regression", "logistic regression, C = .01", "random forest", "gradient boosting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of merit.

    Attributes:
        name: Its key in results, e.g. ``coexpression_recall_0.5``.
        title: Its name in tables.
        words: What it says, in one plain line.
        better: Which way is good; ``as real`` where the real baseline is the aim.
    """

    name: str
    title: str
    words: str
    better: Literal["higher", "lower", "as real"]

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return {"name": self.name, "title": self.title, "words": self.words, "better": self.better}


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A figure's value, or NaN and why there is none.

    Attributes:
        value: The figure; NaN where it cannot be said.
        note: Why it is NaN, or what a reader should know of it.
        gene: Which gene it is about, where it is about one.
    """

    value: float
    note: str = ""
    gene: int | None = None

    def __post_init__(self) -> None:
        require(math.isfinite(self.value) or bool(self.note), "a reason beside a value that is no number")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; NaN is null."""
        about = {} if self.gene is None else {"gene": self.gene}
        return {"value": self.value if math.isfinite(self.value) else None, "note": self.note} | about


def unsaid(why: str) -> Value:
    """Return the value of a figure that cannot be said."""
    return Value(value=math.nan, note=why)


def share(part: float, whole: float, why: str) -> Value:
    """Return ``part / whole``; ``why`` says what it means that ``whole`` is zero."""
    return Value(value=float(part / whole)) if whole else unsaid(why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A figure over repeats.

    Attributes:
        estimate: Mean of the repeats in which it could be said; NaN if none.
        low: Smallest of them.
        high: Largest of them.
        repeats: How many they are.
        note: Why it could not be said in the others, or of the first repeat.
    """

    estimate: float
    low: float
    high: float
    repeats: int
    note: str = ""

    @classmethod
    def of(cls, values: Sequence[Value]) -> Summary:
        """Return the summary of one figure's values, one a repeat."""
        found = [each.value for each in values if math.isfinite(each.value)]
        note = next((each.note for each in values if each.note), "")
        low, high = (min(found), max(found)) if found else (math.nan, math.nan)
        estimate = float(np.mean(found)) if found else math.nan
        return cls(estimate=estimate, low=low, high=high, repeats=len(found), note=note)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; NaN is null."""
        said = {name: getattr(self, name) for name in ("estimate", "low", "high")}
        told = {name: value if math.isfinite(value) else None for name, value in said.items()}
        return {**told, "repeats": self.repeats, "note": self.note}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How thoroughly to measure; all public numbers.

    Attributes:
        repeats: Random halvings of the real rows.
        classifiers: Which of :data:`CLASSIFIERS` are trained.
        trees: Trees of a random forest; a quarter of them in the discriminator.
        rows: Most rows of one side where all pairs of rows are compared.
        level: False discovery rate of differential expression (Benjamini–Hochberg).
        markers: Genes that a class's list of markers holds; never above a tenth of all genes.
        folds: Folds of the discriminator.
    """

    repeats: int = 5
    classifiers: tuple[str, ...] = CLASSIFIERS
    trees: int = 200
    rows: int = 1000
    level: float = 0.05
    markers: int = 50
    folds: int = 5

    def __post_init__(self) -> None:
        require(self.repeats >= 1, "repeats >= 1", repeats=self.repeats)
        unknown = [name for name in self.classifiers if name not in CLASSIFIERS]
        require(bool(self.classifiers) and not unknown, f"classifiers among {CLASSIFIERS}", unknown=unknown)
        require(self.trees >= 1 and self.markers >= 1, "trees and markers >= 1", trees=self.trees, markers=self.markers)
        require(self.rows >= 2 and self.folds >= 2, "rows and folds >= 2", rows=self.rows, folds=self.folds)
        require(0 < self.level < 1, "0 < level < 1", level=self.level)


FULL = Settings()
QUICK = Settings(repeats=2, classifiers=(CLASSIFIERS[0], CLASSIFIERS[2]), rows=400, folds=3)
# What every run can afford: a few seconds beside those of its training.
RUN = Settings(repeats=2, classifiers=QUICK.classifiers, trees=50, rows=200, folds=2)
