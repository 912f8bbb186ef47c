"""Softmax regression by full-batch gradient sums, after one query for the centre (DESIGN §3, §6).

A row is what is left of it once the noisy centre is taken off, scaled to norm 1: a public rule that
reads no other donor. A fixed public centre in place of a paid one costs two to five points of accuracy on
bulk expression.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.special import log_softmax
from torch import nn
from torch.nn import functional

from fedgenome.addition import gradient_precision
from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.learner import Learner
from fedgenome.methods.rounds import MOST_ROWS, ranks
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.privacy.gradients import Inputs, sum_gradients
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.strict import Strict

_COUNT = 0.25  # weight of a donor's count beside its row, in radii: 3 % more noise, and no need of the true number


class Options(Strict):
    """Options of ``linear``."""

    rounds: int = Field(default=30, ge=1, le=1_000_000, description="gradient queries")
    sampling: float = Field(default=1.0, gt=0, le=1, description="chance of each donor to be in a round's sample")
    clip: float = Field(default=0.3, gt=0, description="L2 bound of one donor's gradient")
    rate: float = Field(default=8.0, gt=0, description="learning rate")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="share of the last step that is repeated")
    centre: float = Field(default=0.12, gt=0, lt=1, description="share of the budget that the centre takes")
    middle: float | None = Field(default=None, description="public guess at a gene's mean; default: mid-range")
    radius: float | None = Field(
        default=None, gt=0, description="L2 bound of a row about it; default: range / 4 · √genes"
    )


@dataclass(frozen=True, kw_only=True)
class Linear(Learner[Options]):
    """A linear classifier. Not for two threads at once: they would share its model.

    State: ``step`` (queries answered), ``centre`` (genes,), ``weights`` and ``velocity`` (labels, genes) float32.
    """

    @functools.cached_property
    def model(self) -> nn.Linear:
        """The model's shell, made once; whoever needs it loads weights first."""
        return nn.Linear(len(self.schema.genes), len(self.schema.labels), bias=False)

    @property
    def middle(self) -> float:
        """What is taken off before a row is clipped for the centre."""
        given = self.options.middle
        return (self.schema.low + self.schema.high) / 2 if given is None else given

    @property
    def radius(self) -> float:
        """L2 bound of a row about the middle."""
        spread = (self.schema.high - self.schema.low) / 4
        return self.options.radius or spread * math.sqrt(len(self.schema.genes))

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the centre and the rounds, which share one Gaussian's budget; nothing under trust none."""
        if not self.private:
            return ()
        level, options = noise * self.factor, self.options
        centre, rounds = level / math.sqrt(options.centre), level * math.sqrt(options.rounds / (1 - options.centre))
        return (
            Mechanism(kind="gaussian", level=centre, scope=self.name),
            Mechanism(kind="gaussian", level=rounds, sampling=options.sampling, count=options.rounds, scope=self.name),
        )

    def start(self, rng: np.random.Generator) -> State:
        """Return zero weights, at rest."""
        require(not self.private or self.noise is not None, f"methods.{self.name}: a noise level before it starts")
        shape = len(self.schema.labels), len(self.schema.genes)
        return {
            "step": np.array(0, np.int64),
            "centre": np.zeros(shape[1]),
            "weights": np.zeros(shape, np.float32),
            "velocity": np.zeros(shape, np.float32),
        }

    def ask(self, state: State) -> Question | None:
        """Ask for the centre first, then for a gradient sum per round, then None."""
        step = int(state["step"])
        if step > self.options.rounds:
            return None
        centre, rounds = self._mechanisms()
        if step == 0:
            n, bound = len(self.schema.genes) + 1, self.radius * math.hypot(1, _COUNT)
            return Question(payload={}, length=n, reply_length=n, bound=bound, mechanism=centre)
        return Question(
            payload={"centre": state["centre"], "weights": state["weights"]},
            length=state["weights"].size,
            reply_length=state["weights"].size,
            bound=self.options.clip,
            mechanism=rounds,
            precision=gradient_precision(self.donors_bound, rounds.sampling if rounds else 1.0),
        )

    def _mechanisms(self) -> tuple[Mechanism | None, Mechanism | None]:
        if self.noise is None or not self.private:
            return None, None
        centre, rounds = self.plan(self.noise)
        return centre.form, rounds.form

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return Σ [row − middle, a count] (no payload), or the clipped gradient sum at the payload's weights.

        A donor with several rows counts with their mean, or that of the first 64 rows' gradients; a row with NaN
        counts as zeros, one of a label that the schema does not have has no gradient.
        """
        genes, labels = len(self.schema.genes), len(self.schema.labels)
        require(sample.x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=sample.x.shape[1])
        if not question.payload:
            return sum_rows(self._about_middle(sample.x), sample.donor, sample.mask, question.bound)
        shapes = {name: array.shape for name, array in question.payload.items()}
        expected = {"centre": (genes,), "weights": (labels, genes)}
        require(shapes == expected, f"a payload of shapes {expected}", shapes=shapes)
        self._load(question.payload["weights"])
        kept = np.flatnonzero(ranks(sample.donor) < MOST_ROWS)
        x, label, donor = sample.x[kept], sample.label[kept], sample.donor[kept]
        clean = np.asarray(np.isfinite(x).all(1))
        inputs = _unit(np.where(clean[:, None], x, 0) - question.payload["centre"]), label
        mask = torch.from_numpy(sample.mask[kept] & clean & (label < labels))
        tensors = tuple(torch.from_numpy(array) for array in inputs)
        bound, precision = question.bound, question.precision
        return sum_gradients(self.model, _loss, tensors, torch.from_numpy(donor), mask, bound, precision)

    def _about_middle(self, x: Array) -> npt.NDArray[np.float64]:
        """Return [row − middle, shortened to the radius, a count], (rows, genes + 1); zeros for a row with NaN.

        Shortened first: a row clipped together with its count would count for less than a donor.
        """
        clean = np.asarray(np.isfinite(x).all(1, keepdims=True))
        rows = np.where(clean, x, self.middle) - self.middle
        rows *= self.radius / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), self.radius)
        return np.hstack([rows, clean * self.radius * _COUNT])

    def _load(self, weights: Array) -> None:
        with torch.no_grad():
            self.model.weight.copy_(torch.from_numpy(np.array(weights, np.float32)))

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after the centre, or after one step of gradient descent with momentum."""
        step = int(state["step"])
        after = {**state, "step": np.array(step + 1, np.int64)}
        total = np.asarray(total, np.float64)
        if step == 0:
            donors = max(1.0, float(total[-1]) / (self.radius * _COUNT))
            centre = self.middle + total[:-1] / donors
            return after | {"centre": np.clip(centre, self.schema.low, self.schema.high)}
        options = self.options
        expected = (options.sampling if self.private else 1.0) * self.donors_bound
        gradient = (total / expected).astype(np.float32).reshape(state["weights"].shape)
        velocity = np.float32(options.momentum) * state["velocity"] + gradient
        return after | {"velocity": velocity, "weights": state["weights"] - np.float32(options.rate) * velocity}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``weights`` (labels, genes) and ``centre`` (genes,), both float32."""
        require(int(state["step"]) > self.options.rounds, f"methods.{self.name}: a finished run")
        return {"weights": state["weights"], "centre": state["centre"].astype(np.float32)}

    def predict(self, arrays: Mapping[str, Array], x: Array) -> npt.NDArray[np.int64]:
        """Return the label code of each row of ``x`` (n, genes), int64 (n,)."""
        best: npt.NDArray[np.int64] = _scores(arrays, x).argmax(1)
        return best

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's cross-entropy, float64 (rows,)."""
        told = log_softmax(_scores(arrays, x).astype(np.float64), axis=1)
        return np.asarray(-told[np.arange(len(x)), label])


def _scores(arrays: Mapping[str, Array], x: Array) -> Array:
    """Return each row's score of each label, (rows, labels)."""
    return np.asarray(_unit(x - arrays["centre"]) @ arrays["weights"].T)


def _unit(rows: Array) -> npt.NDArray[np.float32]:
    """Return each row scaled to norm 1; zeros stay zeros."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    scaled: Array = rows / np.where(norms == 0, 1, norms)
    return scaled.astype(np.float32)


def _loss(model: nn.Linear, inputs: Inputs) -> torch.Tensor:
    """Return the cross-entropy of each row, (rows,)."""
    rows, labels = inputs
    return functional.cross_entropy(model(rows), labels, reduction="none")
