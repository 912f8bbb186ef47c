"""DeepType by rounds of clipped per-donor gradient sums: a supervised phase, then a joint one (DESIGN §3).

Only a row's cross-entropy, and its distance to its class's centre, read data. The ℓ2,1 penalty is a step of the
coordinator's. The original clusters hidden layers by k-means over all samples between rounds; here a centre belongs to
a label, and is public (a simplex) or asked for once, by a charged question for class sums, where the phases meet.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy.special import log_softmax
from torch import Tensor

from fedgenome.addition import MICRO_BATCH
from fedgenome.cohort.shard import Shard
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.fedavg import AtHome
from fedgenome.methods.rounds import MOST_ROWS, Batch, RoundOptions, Rounds, ranks
from fedgenome.models import deeptype
from fedgenome.models.parameters import initialise, load_flat
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question, State

_CHUNK = 1 << 10  # rows scored at a time
_COUNT, _LENGTH = 0.5, 0.25  # weights of a donor's count, and of its layer's length, beside the direction


class Options(RoundOptions):
    """Options of ``deeptype``."""

    rate: float = Field(default=1e-3, gt=0, description="Adam's learning rate")
    hidden: tuple[int, int] = Field(default=(1024, 512), description="units of both hidden layers")
    joint: float = Field(
        default=0.5, ge=0, le=1, description="share of the rounds, the last ones, that pull to centres"
    )
    pull: float = Field(default=1.2, ge=0, description="weight of the squared distance to the own class's centre")
    sparsity: float = Field(default=0.006, ge=0, description="weight of the ℓ2,1 norm of genes' weights, ramped in")
    centres: Literal["simplex", "charged"] = Field(
        default="simplex", description="public centres, or means of hidden layers by a charged question"
    )
    centres_noise: float = Field(default=2.0, gt=0, description="noise of that question relative to a round's")
    normalise: Literal["off", "gene", "global"] = Field(
        default="off", description="centre and scale learned by a charged query first, of each gene or of all"
    )
    preludes_noise: float = Field(default=2.0, gt=0, description="noise of this query relative to a round's")


@dataclass(frozen=True, kw_only=True)
class DeepType(Rounds[Options]):
    """DeepType, trained by clipped gradient sums.

    State: that of :class:`Rounds`, and ``centres`` (labels, units) float32.
    """

    @functools.cached_property
    def model(self) -> deeptype.DeepType:
        """The model's shell, made once."""
        return deeptype.DeepType(len(self.schema.genes), self.options.hidden, len(self.schema.labels))

    @property
    def switch(self) -> int:
        """Rounds of the supervised phase."""
        return self.options.rounds - round(self.options.joint * self.options.rounds)

    @property
    def charged(self) -> bool:
        """Whether centres are asked for: as question number ``switch``."""
        return self.options.centres == "charged" and self.switch < self.options.rounds

    @property
    def sent(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a round's payload: weights, centres, and how much they pull."""
        return super().sent | {"centres": (len(self.schema.labels), self.options.hidden[1]), "pull": ()}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the classifier's weights."""
        initialise(self.model, rng)

    def row_loss(self, model: Any, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return each row's loss."""
        return deeptype.loss(model, inputs)

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the class sums, where they are asked for, and the rounds; nothing under trust none."""
        rounds = super().plan(noise)
        if not rounds or not self.charged:
            return rounds
        level = noise * self.factor * self.options.centres_noise
        return (Mechanism(kind="gaussian", level=level, scope=self.name), *rounds)

    def start(self, rng: np.random.Generator) -> State:
        """Return the state of :meth:`Rounds.start`, and public centres."""
        return super().start(rng) | {"centres": deeptype.simplex(len(self.schema.labels), self.options.hidden[1])}

    def ask(self, state: State) -> Question | None:
        """Ask for a gradient sum a round, for class sums before the joint phase, then None. No torch work."""
        if self.charged and int(state["step"]) == self.switch:
            return self._ask_centres(state)
        return super().ask({**state, "step": np.array(self._rounds(state), np.int64)})

    def payload(self, state: State) -> dict[str, Array]:
        """Return weights, centres and how much they pull, after ``step`` rounds."""
        pull = self.options.pull if int(state["step"]) >= self.switch else 0.0
        return super().payload(state) | {"centres": state["centres"], "pull": np.array(pull, np.float32)}

    def _rounds(self, state: State) -> int:
        """Return how many rounds are over."""
        step = int(state["step"])
        return step - (self.charged and step > self.switch)

    def _ask_centres(self, state: State) -> Question:
        n = math.prod(self._sums)
        bound, payload = math.hypot(1, _COUNT, _LENGTH), {"weights": state["weights"]}
        return Question(payload=payload, length=n, reply_length=n, bound=bound, mechanism=self.mechanism(0))

    @property
    def _sums(self) -> tuple[int, int]:
        """Labels, and numbers that are summed of each: a direction, a length and a count."""
        return len(self.schema.labels), self.options.hidden[1] + 2

    def of_round(self, question: Question) -> bool:
        """Whether it is a round's: class sums are asked for with weights alone."""
        return "pull" in question.payload

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the clipped gradient sum, or class sums of hidden layers, at the payload's weights."""
        if self.of_round(question):
            return super().answer(question, sample, rng)
        self.load(question, super().sent)
        rows = self.batch(sample, rng)
        return sum_rows(self._told(*rows.inputs), rows.donor, rows.mask, question.bound)

    def _told(self, x: Array, label: Array) -> npt.NDArray[np.float64]:
        """Return rows of a hidden layer's direction from ½, its length and a count under their labels.

        A direction apart from its length, as young layers lie all about ½: mean layers would drown in the noise.
        """
        told = np.zeros((len(x), *self._sums))
        for i in range(0, len(x), _CHUNK):
            some = np.arange(i, min(i + _CHUNK, len(x)))
            # Zeros up to a multiple of 16: products of few rows round otherwise, and a removed donor would move others.
            rows = np.pad(np.nan_to_num(x[some]), ((0, -len(some) % MICRO_BATCH), (0, 0)))
            with torch.no_grad():
                hidden = self.model.hidden(torch.from_numpy(rows)).numpy()[: len(some)]
            apart = (2 * hidden.astype(np.float64) - 1) / math.sqrt(hidden.shape[1])
            length = np.linalg.norm(apart, axis=1, keepdims=True)
            told[some, label[some], :-2] = apart / np.maximum(length, np.finfo(np.float64).tiny)
            told[some, label[some], -2] = _LENGTH * length[:, 0]
            told[some, label[some], -1] = _COUNT
        return told.reshape(len(x), math.prod(self._sums))

    def batch(self, sample: Shard, rng: DonorStreams) -> Batch:
        """Return scaled expression and labels; complete rows with a known label count."""
        kept = np.flatnonzero(ranks(sample.donor) < MOST_ROWS)
        x, label = self._scaled(sample.x[kept]), sample.label[kept]
        known = label < len(self.schema.labels)
        return Batch(
            inputs=(x, np.where(known, label, 0)),
            donor=sample.donor[kept],
            mask=sample.mask[kept] & np.isfinite(x).all(1) & known,
        )

    def asked_of(self, question: Question, sample: Shard, rng: DonorStreams) -> Batch:
        """Return the rows with the centre that each is pulled to, and how much."""
        rows = self.batch(sample, rng)
        x, label = rows.inputs
        centre = question.payload["centres"][label]
        return replace(rows, inputs=(x, label, centre, np.full(len(x), question.payload["pull"], np.float32)))

    def _scaled(self, x: Array) -> npt.NDArray[np.float32]:
        """Return expression scaled from the public range to [-1, 1]."""
        low, high = self.schema.low, self.schema.high
        scaled: Array = 2 * (x - low) / (high - low) - 1
        return scaled.astype(np.float32)

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after class sums, or after one Adam step on the noisy mean gradient."""
        if self.of_round(question):
            return super().learn(state, question, total)
        sums = np.asarray(total, np.float64).reshape(self._sums)
        means = sums / np.maximum(sums[:, -1:] / _COUNT, 1.0)
        lengths = np.clip(means[:, -2:-1] / _LENGTH, 0, 1) * math.sqrt(self.options.hidden[1])
        centres = np.clip((1 + lengths * means[:, :-2]) / 2, 0, 1).astype(np.float32)
        return {**state, "step": np.array(self.switch + 1, np.int64), "centres": centres}

    def stepped(self, state: State, gradient: npt.NDArray[np.float32]) -> State:
        """Return the state after one Adam step, and a step of the penalty, whose weight grows over the first phase."""
        done = self._rounds(state)
        after = super().stepped({**state, "step": np.array(done, np.int64)}, gradient)
        genes, units = len(self.schema.genes), self.options.hidden[0]
        ramp = min(1.0, (done + 1) / max(1, self.switch))
        first = after["weights"][: units * genes].reshape(units, genes)  # a view of what Adam has just made
        deeptype.shrink(first, self.options.rate * self.options.sparsity * ramp)
        return after | {"step": np.array(int(state["step"]) + 1, np.int64)}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``weights`` (P,), ``curve`` (rounds,) and ``centres`` (labels, units)."""
        self.require_finished({**state, "step": np.array(self._rounds(state), np.int64)})
        return {name: state[name] for name in ("weights", "curve", "centres")}

    def predict(self, arrays: Mapping[str, Array], x: Array) -> npt.NDArray[np.int64]:
        """Return the label code of each row of ``x`` (n, genes), int64 (n,)."""
        best: npt.NDArray[np.int64] = self._scores(arrays, x).argmax(1)
        return best

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's cross-entropy, float64 (rows,)."""
        told = log_softmax(self._scores(arrays, x), axis=1)
        return np.asarray(-told[np.arange(len(x)), label])

    def loss(self, state: State, rows: Shard) -> float:
        """Return the mean cross-entropy of the unmasked, complete rows. Internal, never released."""
        kept = rows.mask & np.isfinite(rows.x).all(1) & (rows.label < len(self.schema.labels))
        return float(self.losses(state, rows.x[kept], rows.label[kept]).mean()) if kept.any() else math.nan

    def _scores(self, arrays: Mapping[str, Array], x: Array) -> npt.NDArray[np.float64]:
        """Return each row's score of each label, (rows, labels)."""
        load_flat(self.model, arrays["weights"])
        out = np.empty((len(x), len(self.schema.labels)))
        for i in range(0, len(x), _CHUNK):
            with torch.no_grad():
                out[i : i + _CHUNK] = self.model(torch.from_numpy(self._scaled(x[i : i + _CHUNK])))[0].numpy()
        return out


class DeepTypeAtHome(AtHome[Options], DeepType):
    """The classifier of :class:`DeepType`, trained by several steps at every site a round."""
