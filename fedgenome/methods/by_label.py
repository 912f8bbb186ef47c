"""What a masking method knows of the people it works for: means of every label, and how far genes spread.

One charged question of sums by label, or a public panel in its place. Of dosages, means are twice the allele
frequencies, and the spread is that of Hardy–Weinberg proportions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedgenome.cohort.shard import Shard
from fedgenome.privacy.clipping import ClippedSum, Product, sum_products
from fedgenome.query import Array, Mechanism, Question
from fedgenome.study import Schema

_COUNT = 0.25  # weight of a donor's count beside its row, in radii: 3 % more noise
_PRIOR = 5.0  # people of the whole cohort that a label's mean is drawn towards
_LEAST = 0.02  # of the range: no gene is taken to spread less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """What is known.

    Attributes:
        shares: Of the labels, float64 (L,), all above 0, adding up to 1.
        means: float32 (L, genes), within the schema's range.
        spread: Standard deviation of each gene, float32 (genes,), above 0.
    """

    shares: Array
    means: Array
    spread: Array

    @property
    def centre(self) -> npt.NDArray[np.float32]:
        """The mean of each gene, (genes,)."""
        return np.asarray(self.shares @ self.means, np.float32)

    @property
    def contrasts(self) -> npt.NDArray[np.float32]:
        """How far each label's means lie from all people's, in standard deviations, (L, genes)."""
        return np.asarray((self.means - self.centre) / self.spread, np.float32)

    @property
    def association(self) -> npt.NDArray[np.float32]:
        """Share of a gene's variance between labels, (genes,): of dosages twice F_ST where labels are ancestries."""
        return np.asarray(self.shares @ self.contrasts.astype(np.float64) ** 2, np.float32)

    def make(self, schema: Schema, n: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Return ``n`` made people, (n, genes): a label by its share, genes independent of one another given it."""
        means = self.means[rng.choice(len(self.shares), n, p=self.shares)]
        if schema.dosages:
            return rng.binomial(2, np.clip(means / 2, 0, 1)).astype(np.float32)
        rows = means + self.spread * rng.standard_normal(means.shape, np.float32)
        return np.clip(rows, np.float32(schema.low), np.float32(schema.high))


def assumed(schema: Schema, panel: Array | None = None) -> People:
    """Return what is known before anybody is asked: labels alike, means of ``panel`` (genes,) or mid-range."""
    labels, genes = len(schema.labels), len(schema.genes)
    middle = (schema.low + schema.high) / 2
    means = np.full(genes, middle) if panel is None else np.asarray(panel, np.float64)
    return _people(schema, np.full(labels, 1 / labels), np.tile(means, (labels, 1)), None)


def question(schema: Schema, mechanism: Mechanism | None) -> Question:
    """Return the question of counts and sums by label, and of squares where the spread does not follow."""
    labels, genes = len(schema.labels), len(schema.genes)
    length = labels * (1 + genes) + _squares(schema)
    return Question(payload={}, length=length, reply_length=length, bound=_bound(schema), mechanism=mechanism)


def answer(schema: Schema, asked: Question, sample: Shard) -> ClippedSum:
    """Return Σ over donors of [a count, row − middle] at the row's label, and of (row − middle)², all in ranges.

    A donor with several rows counts with their mean; a row with NaN or of no known label counts as zeros.
    """
    labels, genes, middle = len(schema.labels), len(schema.genes), (schema.low + schema.high) / 2

    def made(at: Array) -> Sequence[Product]:
        x, label = sample.x[at], sample.label[at]
        fine = np.isfinite(x).all(1, keepdims=True) & (label < labels)[:, None]
        about = np.clip((np.where(fine, x, middle).astype(np.float64) - middle) / (schema.high - schema.low), -0.5, 0.5)
        rows = np.hstack([np.full((len(at), 1), _COUNT * _radius(genes)), about])
        placed = (label[:, None] == np.arange(labels)) & fine
        squares = [(fine.astype(np.float64), about**2)] if _squares(schema) else []
        return [(placed.astype(np.float64), rows), *squares]

    return sum_products(made, sample.donor, sample.mask, asked.bound)


def learned(schema: Schema, total: Array) -> People:
    """Return what the noisy sum taught."""
    labels, genes = len(schema.labels), len(schema.genes)
    by_label = np.asarray(total[: labels * (1 + genes)], np.float64).reshape(labels, 1 + genes)
    counts = np.maximum(by_label[:, 0] / (_COUNT * _radius(genes)), 1.0)
    sums, everybody = by_label[:, 1:], counts.sum()
    pooled = np.clip(sums.sum(0) / everybody, -0.5, 0.5)
    about = np.clip((sums + _PRIOR * pooled) / (counts[:, None] + _PRIOR), -0.5, 0.5)
    squares = total[labels * (1 + genes) :] / everybody - pooled**2 if _squares(schema) else None
    means = schema.low + (schema.high - schema.low) * (about + 0.5)
    return _people(schema, counts / everybody, means, squares)


def _people(schema: Schema, shares: Array, means: Array, variances: Array | None) -> People:
    span = schema.high - schema.low
    if schema.dosages:
        alt = shares @ means / 2
        spread = np.sqrt(2 * alt * (1 - alt))
    else:
        spread = np.full(means.shape[1], span / 4) if variances is None else span * np.sqrt(np.maximum(variances, 0))
    return People(
        shares=shares, means=means.astype(np.float32), spread=np.maximum(spread, _LEAST * span).astype(np.float32)
    )


def _squares(schema: Schema) -> int:
    return 0 if schema.dosages else len(schema.genes)


def _radius(genes: int) -> float:
    return math.sqrt(genes) / 2  # of a row about the middle, at most


def _bound(schema: Schema) -> float:
    genes = len(schema.genes)
    squares = math.sqrt(_squares(schema)) / 4
    return math.hypot(_radius(genes), _COUNT * _radius(genes), squares)
