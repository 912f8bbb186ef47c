"""Charged questions that a method can put before its own: centre and scale of genes, clip norm by quantile.

A :class:`Preceded` method asks its prelude once, just before the first question that it changes, with coins
and a price of its own; what it learns is then public and travels in every later payload. Preludes nest: the
outer one is asked first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import numpy as np
import numpy.typing as npt

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams, Generator, Method, Watched
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.study import Schema

_WIDTH = 3.0  # standard deviations that a standardised gene keeps on either side of its centre
_LEAST_SCALE = 0.05  # of half the public range: a gene that hardly varies is not blown up
_STEPS = range(-12, 13)  # clip norms looked at: the middle one times 2^(k/2)


class Whole(Method, Generator, Watched, Protocol):
    """A method that can also generate and be watched."""


class Prelude(Protocol):
    """One question, and what its answer changes. Everything learned is an array of fixed shape."""

    @property
    def name(self) -> str:
        """Prefix of its arrays in states and payloads."""
        ...

    @property
    def sampling(self) -> float:
        """Poisson rate of its question."""
        ...

    def untaught(self) -> dict[str, Array]:
        """Return what is assumed before it was asked."""
        ...

    def due(self, question: Question) -> bool:
        """Return whether ``question`` is one that the prelude changes."""
        ...

    def question(self, before: Question, mechanism: Mechanism | None) -> Question:
        """Return the prelude's question, asked before ``before``."""
        ...

    def answer(self, method: Method, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the site's clipped sum for it."""
        ...

    def learn(self, total: Array) -> dict[str, Array]:
        """Return what the noisy sum taught."""
        ...

    def change(self, question: Question, learned: Mapping[str, Array]) -> Question:
        """Return the method's question as it is asked once the prelude is answered."""
        ...

    def seen(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return expression as the method sees it."""
        ...

    def shown(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return generated expression in the public units."""
        ...


@dataclass(frozen=True, kw_only=True)
class Preceded:
    """A method with a prelude.

    Attributes:
        method: What is asked after it.
        prelude: What is asked before.
        factor: Noise of the prelude relative to the study's other methods.
        private: False under trust none: no mechanism.
        noise: The calibrated noise level; None until :meth:`at`.
    """

    method: Whole
    prelude: Prelude
    factor: float
    private: bool
    noise: float | None = None

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the prelude's mechanism, then the method's."""
        own = Mechanism(
            kind="gaussian", level=noise * self.factor, sampling=self.prelude.sampling, scope=self.method.name
        )
        return (own, *self.method.plan(noise)) if self.private else ()

    def at(self, noise: float) -> Self:
        """Return this method with its noise level set."""
        return replace(self, method=self.method.at(noise), noise=noise)

    def start(self, rng: np.random.Generator) -> State:
        """Return the method's first state, and what the prelude assumes before it is asked."""
        return self.method.start(rng) | self._named(self.prelude.untaught(), asked=0)

    def ask(self, state: State) -> Question | None:
        """Ask the prelude's question once it is due, else the method's as the prelude changes it."""
        inner, learned, asked = self._parts(state)
        question = self.method.ask(inner)
        if question is None:
            return None
        if not asked and self.prelude.due(question):
            mechanism = self.plan(self.noise)[0].form if self.private and self.noise is not None else None
            own = self.prelude.question(question, mechanism)
            return replace(own, payload=dict(own.payload) | {self._mark: np.array(1, np.int64)})
        told = {f"{self.prelude.name}.{name}": array for name, array in learned.items()}
        return replace(self.prelude.change(question, learned), payload=dict(question.payload) | told)

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the prelude's sum, or the method's over what the prelude lets it see."""
        own, learned = self._stripped(question)
        if self._mark in question.payload:
            return self.prelude.answer(self.method, own, sample, rng)
        shapes = {name: array.shape for name, array in self.prelude.untaught().items()}
        told = {name: array.shape for name, array in learned.items()}
        require(told == shapes, f"a payload with what {self.prelude.name} learned, {shapes}", shapes=told)
        return self.method.answer(own, replace(sample, x=self.prelude.seen(sample.x, learned)), rng)

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after the prelude's sum or the method's."""
        inner, learned, asked = self._parts(state)
        if self._mark in question.payload:
            return inner | self._named(self.prelude.learn(np.asarray(total, np.float64)), asked=1)
        return self.method.learn(inner, self._stripped(question)[0], total) | self._named(learned, asked=asked)

    def release(self, state: State) -> dict[str, Array]:
        """Return what the method releases, and what the prelude learned."""
        inner, learned, asked = self._parts(state)
        return self.method.release(inner) | self._named(learned, asked=asked)

    def loss(self, state: State, rows: Shard) -> float:
        """Return the method's loss of ``rows`` as it sees them. Internal, never released."""
        inner, learned, _ = self._parts(state)
        return self.method.loss(inner, replace(rows, x=self.prelude.seen(rows.x, learned)))

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return the method's label weights."""
        return self.method.label_weights(arrays)

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Return the method's rows in the public units."""
        inner, learned, _ = self._parts(dict(arrays))
        return self.prelude.shown(self.method.sample(inner, labels, rng), learned)

    @property
    def _mark(self) -> str:
        return f"{self.prelude.name}.asked"

    def _named(self, learned: Mapping[str, Array], *, asked: int) -> State:
        return {self._mark: np.array(asked, np.int64)} | {f"{self.prelude.name}.{n}": a for n, a in learned.items()}

    def _parts(self, state: State) -> tuple[State, dict[str, Array], int]:
        """Return the method's own state, what the prelude learned, and whether it was asked."""
        own, theirs = _split(state, self.prelude.name)
        asked = int(own.pop("asked"))
        return theirs, own, asked

    def _stripped(self, question: Question) -> tuple[Question, dict[str, Array]]:
        own, theirs = _split(question.payload, self.prelude.name)
        return replace(question, payload=theirs), own


def _split(arrays: Mapping[str, Array], name: str) -> tuple[dict[str, Array], dict[str, Array]]:
    prefix = f"{name}."
    own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    return own, {key: array for key, array in arrays.items() if not key.startswith(prefix)}


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


@dataclass(frozen=True, kw_only=True)
class QuantileClip:
    """The clip norm of a method's float32 sums, as a quantile of the donors' own norms.

    One noisy histogram over public norms, one vote a donor: sensitivity 1. It is a query of its own in the
    plan, not hidden in the noise of the rounds. A donor's norm is that of the answer it alone would give.
    """

    middle: float
    quantile: float
    sampling: float
    name: str = "clip"

    @property
    def norms(self) -> npt.NDArray[np.float64]:
        """The public norms, rising; one of them is chosen."""
        return self.middle * 2.0 ** (np.array(_STEPS) / 2)

    def untaught(self) -> dict[str, Array]:
        """Return the middle of the public norms."""
        return {"norm": np.array(self.middle)}

    def due(self, question: Question) -> bool:
        """Ask before the first sum of gradients."""
        return question.precision == "float32"

    def question(self, before: Question, mechanism: Mechanism | None) -> Question:
        """Ask, at the payload of ``before``, how many donors have which norm."""
        n = len(self.norms)
        return Question(payload=before.payload, length=n, reply_length=n, bound=1.0, mechanism=mechanism)

    def answer(self, method: Method, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return one vote a donor, for the smallest norm that its contribution does not exceed."""
        everyone = np.arange(sample.n_donors)
        votes = np.zeros((sample.n_donors, len(self.norms)), np.float32)
        largest = replace(question, bound=2 * float(self.norms[-1]))
        for donor in everyone:
            alone = method.answer(largest, sample.take(everyone == donor), rng)
            norm = float(np.linalg.norm(alone.value))
            votes[donor, min(int(np.searchsorted(self.norms, norm)), len(self.norms) - 1)] = 1
        here = np.bincount(sample.donor[sample.mask], minlength=sample.n_donors) > 0
        return sum_rows(votes, everyone, here, question.bound)

    def learn(self, total: Array) -> dict[str, Array]:
        """Return the smallest public norm below which the noisy share of donors is at least the quantile."""
        votes = np.maximum(total, 0)
        below = np.cumsum(votes) >= self.quantile * votes.sum()
        return {"norm": np.array(self.norms[int(np.argmax(below))])}

    def change(self, question: Question, learned: Mapping[str, Array]) -> Question:
        """Clip sums of gradients to the chosen norm."""
        return replace(question, bound=float(learned["norm"])) if self.due(question) else question

    def seen(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return ``x``."""
        return x

    def shown(self, x: Array, learned: Mapping[str, Array]) -> Array:
        """Return ``x``."""
        return x
