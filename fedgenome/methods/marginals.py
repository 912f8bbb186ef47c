"""Label × gene × bin tables over public bins, in one query, with a closed-form learner and sampler.

A donor's row is one-hot per gene in its label's block, plus a weighted label indicator: its L2 norm is
at most √(genes + weight²), so that nothing is lost to clipping. All that follows is post-processing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams, drawn_rows
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.strict import Strict
from fedgenome.study import MethodSpec, Schema

Floats = npt.NDArray[np.float64]

_EDGES = (1.5, 2.5, 3.5)  # of log-normalised expression: one, few, many copies in ten thousand
_CHUNK = 1 << 21  # uniforms drawn at a time when sampling
_LEAST = 1e-4  # probability that a bin is taken to have, at least, where a row's is told


class Options(Strict):
    """Options of ``marginals``."""

    edges: tuple[float, ...] | None = Field(
        default=None, min_length=1, description="public bin edges from schema.low upwards, below schema.high"
    )
    label_weight: float = Field(default=1.0, gt=0, le=1000, description="weight of the label against that of a gene")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marginals:
    """Tables of one label and one gene each, noised once.

    Attributes:
        name: Label of the spec.
        schema: Public facts about the data.
        edges: Upper ends of all bins but the last, rising from ``schema.low``: the first bin holds
            values at ``low`` only, the last those up to ``schema.high``.
        weight: Weight of the label indicator.
        factor: Noise relative to the study's other methods.
        private: False under trust none: no mechanism.
        noise: The calibrated noise level; None until :meth:`at`.
    """

    name: str
    schema: Schema
    edges: tuple[float, ...]
    weight: float
    factor: float
    private: bool
    noise: float | None = None

    def __post_init__(self) -> None:
        low, high = self.schema.low, self.schema.high
        rising = all(a < b for a, b in zip(self.edges, (*self.edges[1:], high), strict=True))
        rule = f"edges that rise from schema.low = {low:g} and end below schema.high = {high:g}"
        require(rising and self.edges[0] == low, f"methods.{self.name}.options.edges: {rule}", edges=self.edges)

    @classmethod
    def build(cls, spec: MethodSpec, options: Options, schema: Schema, private: bool) -> Self:
        """Return the method that ``spec`` describes."""
        edges = default_edges(schema) if options.edges is None else options.edges
        return cls(
            name=spec.label, schema=schema, edges=edges, weight=options.label_weight, factor=spec.noise, private=private
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(labels, genes, bins) of the tables."""
        return len(self.schema.labels), len(self.schema.genes), len(self.edges) + 1

    @property
    def bound(self) -> float:
        """L2 norm of a row, √(genes + weight²)."""
        return math.sqrt(len(self.schema.genes) + self.weight**2)

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the one Gaussian sum; nothing under trust none."""
        if not self.private:
            return ()
        return (Mechanism(kind="gaussian", level=noise * self.factor, scope=self.name),)

    def at(self, noise: float) -> Self:
        """Return this method with its noise level set."""
        return replace(self, noise=noise)

    def start(self, rng: np.random.Generator) -> State:
        """Return the state before the query: a counter."""
        require(not self.private or self.noise is not None, f"methods.{self.name}: a noise level before it starts")
        return {"step": np.array(0, np.int64)}

    def ask(self, state: State) -> Question | None:
        """Ask for labels and tables at once; then None."""
        if state["step"]:
            return None
        labels, genes, bins = self.shape
        length = labels + labels * genes * bins
        return Question(
            payload={},
            length=length,
            reply_length=length,
            bound=self.bound,
            mechanism=self.plan(self.noise)[0].form if self.noise is not None and self.private else None,
        )

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return Σ over donors of the mean of their rows: [weight · label one-hot, label × gene × bin one-hots].

        A value that is not finite is in no bin. Other genes than the schema's raise SpecError.
        """
        labels, genes, bins = self.shape
        require(sample.x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=sample.x.shape[1])
        rows = np.zeros((len(sample.x), labels + labels * genes * bins), np.float32)
        slots = np.flatnonzero(sample.mask & (sample.label < labels))
        label = sample.label[slots]
        rows[slots, label] = self.weight
        x = sample.x[slots]
        at = labels + (label[:, None] * genes + np.arange(genes)) * bins + np.searchsorted(self.edges, x)
        seen = np.isfinite(x)
        rows[np.broadcast_to(slots[:, None], x.shape)[seen], at[seen]] = 1
        return sum_rows(rows, sample.donor, sample.mask, question.bound)

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the tables as probabilities, and the label weights (:func:`fit`)."""
        labels = self.shape[0]
        least = question.mechanism.level * question.bound if question.mechanism else None
        weights, tables = fit(total[labels:].reshape(self.shape), total[:labels] / self.weight, self.weight, least)
        return {"step": np.array(1, np.int64), "label_weights": weights, "tables": tables.astype(np.float32)}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``label_weights`` (labels,), ``tables`` (labels, genes, bins) and the public ``edges``."""
        require(bool(state["step"]), f"methods.{self.name}: a finished run")
        return {name: state[name] for name in ("label_weights", "tables")} | {"edges": np.array(self.edges)}

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return the share of each label, float64 (labels,)."""
        return np.asarray(arrays["label_weights"], np.float64)

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Draw one row for each label code, genes independent given the label, float32 (n, genes)."""
        tables = np.asarray(arrays["tables"], np.float64)
        edges = np.append(arrays["edges"], self.schema.high)
        step = max(1, _CHUNK // tables[0].size)
        parts = [_draw(tables, edges, labels[i : i + step], rng) for i in range(0, len(labels), step)]
        x = np.concatenate(parts) if parts else np.zeros((0, tables.shape[1]), np.float32)
        # A bin holds values up to its upper edge: of dosages that edge alone.
        return drawn_rows(self.schema, np.ceil(x) if self.schema.dosages else x)

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's −log probability of its bins given its label, float64 (rows,)."""
        genes, bins = np.arange(self.shape[1]), np.searchsorted(np.asarray(arrays["edges"]), x)
        tables = np.log(np.maximum(np.asarray(arrays["tables"], np.float64), _LEAST))
        return np.asarray(-tables[label[:, None], genes, bins].sum(1))


def default_edges(schema: Schema) -> tuple[float, ...]:
    """Return public edges: between dosages, of log-normalised expression, or of four even bins where these do not fit.

    >>> default_edges(Schema(genes=("A",), labels=("b",), high=6.0))
    (0.0, 1.5, 2.5, 3.5)
    >>> default_edges(Schema(genes=("A",), labels=("b",), low=-1.0, high=1.0))
    (-1.0, -0.5, 0.0, 0.5)
    """
    if schema.dosages:
        return 0.0, 1.0
    if schema.low == 0 and schema.high > _EDGES[-1]:
        return (0.0, *_EDGES)
    return tuple(float(edge) for edge in np.linspace(schema.low, schema.high, 5)[:-1])


def fit(tables: Array, counts: Array, weight: float, least: float | None) -> tuple[Floats, Floats]:
    """Turn noisy counts into label weights and bin probabilities. Reads noisy sums only.

    Every (label, gene) row is split into what its label's size and the gene's pooled marginal predict,
    and a deviation, which is shrunk by the positive-part James–Stein factor 1 − (d − 2)·σ²/‖deviation‖²
    before the row is projected onto the simplex. Without noise the tables are the empirical ones.

    Args:
        tables: (labels, genes, bins) noisy counts.
        counts: (labels,) noisy counts from the label indicator, its weight divided out.
        weight: That weight.
        least: Least standard deviation σ of the noise in ``tables``; None without noise.

    Returns:
        Weights (labels,) summing to 1, and probabilities (labels, genes, bins); uniform where nothing is known.
    """
    bins = tables.shape[2]
    sizes = np.maximum(_sizes(tables, counts, weight), 0.0)
    total = sizes.sum()
    if total <= 0:
        return np.full(len(sizes), 1 / len(sizes)), np.full(tables.shape, 1 / bins)
    pooled = _simplex(tables.sum(0) / total)
    deviation = tables - sizes[:, None, None] * pooled
    deviation -= deviation.mean(2, keepdims=True)
    if least is not None:
        variance = max(least**2, _noise_variance(tables))
        square = (deviation**2).sum(2, keepdims=True)
        left = np.maximum(square - max(bins - 3, 1) * variance, 0)
        deviation *= left / np.maximum(square, np.finfo(float).tiny)
    # A label of less than one donor has no table of its own to speak of.
    return sizes / total, _simplex(pooled + deviation / np.maximum(sizes, 1.0)[:, None, None])


def _sizes(tables: Floats, counts: Floats, weight: float) -> Floats:
    """Average the two estimates of a label's size by inverse variance: indicator, and mean row total of its genes."""
    _, genes, bins = tables.shape
    precision = genes / bins, weight**2
    by_genes = tables.sum(2).mean(1)
    average: Floats = (precision[0] * by_genes + precision[1] * counts) / sum(precision)
    return average


def _noise_variance(tables: Floats) -> float:
    """Estimate σ² from the row totals, which noise alone makes differ between the genes of a label.

    The study's σ is that left by the parties who do not collude; what all of them add is larger.
    """
    _, genes, bins = tables.shape
    return float(tables.sum(2).var(1, ddof=1).mean() / bins) if genes > 1 else 0.0


def _simplex(rows: Floats) -> Floats:
    """Project each row (…, n) onto the simplex: the nearest non-negative row that sums to 1 (Duchi et al. 2008)."""
    falling = -np.sort(-rows, axis=-1)
    excess = (np.cumsum(falling, axis=-1) - 1) / np.arange(1, rows.shape[-1] + 1)
    last = (falling > excess).sum(-1, keepdims=True) - 1
    return np.maximum(rows - np.take_along_axis(excess, last, -1), 0)


def _draw(tables: Floats, edges: Floats, labels: Array, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Invert each gene's distribution function at one uniform a value; the first bin is an atom at ``edges[0]``."""
    cumulative = np.cumsum(tables, axis=2)
    left, right = _slopes(tables, edges)
    u = rng.random((len(labels), tables.shape[1]))
    bin_ = np.minimum((u[:, :, None] >= cumulative[labels]).sum(2), tables.shape[2] - 1)
    where = (labels[:, None], np.arange(tables.shape[1]), bin_)
    mass = tables[where]
    v = np.clip((u - cumulative[where] + mass) / np.where(mass > 0, mass, 1), 0, 1)
    a, b = left[where], right[where]
    within = v * (a + b) / (a + np.sqrt(a**2 + v * (b**2 - a**2)))
    start, width = np.append(edges[:1], edges[:-1]), np.append(0.0, np.diff(edges))
    drawn: Floats = start[bin_] + width[bin_] * within
    return drawn.astype(np.float32)


def _slopes(tables: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Return the relative density at both ends of each bin: linear within it, continuous-minded across edges.

    An inner edge gets the mean of the densities beside it, the ends of the range get zero.
    """
    density: Any = tables[:, :, 1:] / np.diff(edges)
    ends = np.zeros((*tables.shape[:2], tables.shape[2]))
    ends[:, :, 1:-1] = (density[:, :, :-1] + density[:, :, 1:]) / 2
    left, right = np.ones(tables.shape), np.ones(tables.shape)
    flat = ends[:, :, :-1] + ends[:, :, 1:] <= 0
    left[:, :, 1:], right[:, :, 1:] = np.where(flat, 1, ends[:, :, :-1]), np.where(flat, 1, ends[:, :, 1:])
    return left, right
