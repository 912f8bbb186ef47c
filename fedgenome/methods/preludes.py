"""Charged questions that a method can put before its own, such as a scale (``standardise``) or a clip norm.

A :class:`Preceded` method asks its prelude once, just before the first question that it changes, with coins
and a price of its own; what it learns is then public and travels in every later payload. Preludes nest: the
outer one is asked first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import Classifier, DonorStreams, Generator, Method, Scored, Watched
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.query import Array, Mechanism, Question, State


class Model(Method, Scored, Watched, Protocol):
    """A method that can also tell losses and be watched."""


class Generating(Model, Generator, Protocol):
    """One that generates rows."""


class Classifying(Model, Classifier, Protocol):
    """One that tells labels."""


_Model = TypeVar("_Model", bound=Model)


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
class Preceded(Generic[_Model]):
    """A method with a prelude; what else it can do is in the classes below.

    Attributes:
        method: What is asked after it.
        prelude: What is asked before.
        factor: Noise of the prelude relative to the study's other methods.
        private: False under trust none: no mechanism.
        noise: The calibrated noise level; None until :meth:`at`.
    """

    method: _Model
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

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return the method's losses of rows as it sees them, float64 (rows,)."""
        inner, learned, _ = self._parts(dict(arrays))
        return self.method.losses(inner, self.prelude.seen(x, learned), label)

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


class PrecededGenerator(Preceded[Generating]):
    """A generator with a prelude."""

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return the method's label weights."""
        return self.method.label_weights(arrays)

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Return the method's rows in the public units."""
        inner, learned, _ = self._parts(dict(arrays))
        return self.prelude.shown(self.method.sample(inner, labels, rng), learned)


class PrecededClassifier(Preceded[Classifying]):
    """A classifier with a prelude."""

    def predict(self, arrays: Mapping[str, Array], x: Array) -> Array:
        """Return the method's label of each row as it sees it, int64 (n,)."""
        inner, learned, _ = self._parts(dict(arrays))
        return self.method.predict(inner, self.prelude.seen(x, learned))


def _split(arrays: Mapping[str, Array], name: str) -> tuple[dict[str, Array], dict[str, Array]]:
    prefix = f"{name}."
    own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    return own, {key: array for key, array in arrays.items() if not key.startswith(prefix)}
