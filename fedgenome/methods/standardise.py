"""A prelude: centre and scale of genes, from one charged sum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams, Method
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question
from fedgenome.study import Schema

_WIDTH = 3.0  # standard deviations that a standardised gene keeps on either side of its centre
_LEAST_SCALE = 0.05  # of half the public range: a gene that hardly varies is not blown up


@dataclass(frozen=True, kw_only=True)
class Standardise:
    """Centre and scale of every gene, or one of each for all, from one noisy sum over the public range.

    With y in [−1, 1] for the public range, a donor answers [mean y, mean 2y² − 1, √width]: an L2 norm of at
    most √(3·width), of which the last number counts the donors. The method then sees genes within three
    standard deviations of their centre, spread over the public range again.
    """

    schema: Schema
    by: Literal["gene", "global"]
    name: str = "standardise"
    sampling: float = 1.0

    @property
    def width(self) -> int:
        """Numbers that a centre has: genes, or 1."""
        return len(self.schema.genes) if self.by == "gene" else 1

    def untaught(self) -> dict[str, Array]:
        """Return the middle of the range and a scale that changes nothing."""
        genes = len(self.schema.genes)
        return {"centre": np.zeros(genes), "scale": np.full(genes, 1 / _WIDTH)}

    def due(self, question: Question) -> bool:
        """Ask before everything else."""
        return True

    def question(self, before: Question, mechanism: Mechanism | None) -> Question:
        """Ask for sums of values, of squares, and of donors."""
        n = 2 * self.width + 1
        return Question(payload={}, length=n, reply_length=n, bound=math.sqrt(3 * self.width), mechanism=mechanism)

    def answer(self, method: Method, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the sums over donors of the mean of their rows; a row with NaN counts as zeros."""
        y = self._unit(sample.x)
        values = np.concatenate([y, 2 * y**2 - 1], axis=1).reshape(len(y), 2, y.shape[1])
        values = values if self.by == "gene" else values.mean(2, keepdims=True)
        count = np.full((len(y), 1), math.sqrt(self.width))
        rows = np.concatenate([values.reshape(len(y), 2 * self.width), count], axis=1)
        return sum_rows(rows, sample.donor, sample.mask, question.bound)

    def learn(self, total: Array) -> dict[str, Array]:
        """Return centre and scale, (genes,) each, in units of half the range around its middle."""
        n = max(float(total[-1]) / math.sqrt(self.width), 1.0)
        first, second = total[: self.width] / n, (total[self.width : -1] / n + 1) / 2
        centre = np.clip(first, -1, 1)
        scale = np.sqrt(np.clip(second - centre**2, _LEAST_SCALE**2, 1))
        genes = len(self.schema.genes)
        return {"centre": np.resize(centre, genes), "scale": np.resize(scale, genes)}

    def change(self, question: Question, learned: Mapping[str, Array]) -> Question:
        """Leave the question as it is: what was learned travels beside it."""
        return question

    def seen(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return expression standardised within the public range, float32; whatever a payload says, within it."""
        low, high = self.schema.low, self.schema.high
        with np.errstate(all="ignore"):  # a crafted scale gives NaN: such rows count as nothing
            y = np.clip((self._unit(x) - learned["centre"]) / (_WIDTH * learned["scale"]), -1, 1)
        return (low + (high - low) * (y + 1) / 2).astype(np.float32)

    def shown(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return the inverse of :meth:`seen`, within the public range."""
        low, high = self.schema.low, self.schema.high
        y = learned["centre"] + _WIDTH * learned["scale"] * self._unit(x)
        return np.clip(low + (high - low) * (y + 1) / 2, low, high).astype(np.float32)

    def _unit(self, x: Array) -> npt.NDArray[np.float64]:
        low, high, genes = self.schema.low, self.schema.high, len(self.schema.genes)
        require(x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=x.shape[1])
        y: npt.NDArray[np.float64] = 2 * (np.asarray(x, np.float64) - low) / (high - low) - 1
        return np.clip(y, -1, 1)
