"""What a method is: the questions it asks, the clipped answers of a site, what it learns (DESIGN §3).

A method is built from public facts only (its spec and the schema), so that a site can rebuild it from
the Study. The engine, not the method, samples donors, rounds, shares, seals, adds noise and charges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.study import Schema, TrustModel

if TYPE_CHECKING:
    from fedgenome.models.language.base import LanguageModel  # loads torch


def drawn_rows(schema: Schema, x: Array) -> Array:
    """Return generated values as rows of the schema: within its public range, whole where they are dosages, float32."""
    within = np.clip(x, np.float32(schema.low), np.float32(schema.high))
    return np.asarray(np.rint(within) if schema.dosages else within, np.float32)


class DonorStreams(Protocol):
    """A site's draws for one query, keyed by donor id. They hide nobody."""

    def normal(self, donors: Sequence[str], size: int) -> Array:
        """Return standard normals, float32 (len(donors), size).

        Row i depends on ``donors[i]`` and the query only, and its first k numbers do not depend on
        ``size``: a donor's draws are the same whoever else is in the sample.
        """
        ...


@runtime_checkable
class HomeSteps(DonorStreams, Protocol):
    """A site's draws for a question to the whole site: it samples and noises each step of local training."""

    def noisy_sum(self, answer: Callable[[Shard, DonorStreams], ClippedSum]) -> Array:
        """Return ``answer`` over the next step's sample, with the site's own noise where the study wants it there.

        Raises:
            SpecError: the question pays for fewer steps.
        """
        ...


class Method(Protocol):
    """A sequence of bounded questions, and what is learned from their sums."""

    @property
    def name(self) -> str:
        """The spec's label: scope of the ledger, name in the release."""
        ...

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return every query the method will ask, counted by form, at the study's noise level.

        Gaussian levels are ``noise`` times public factors, exponential ones public factors divided by it.
        Empty under trust none. Pure.
        """
        ...

    def at(self, noise: float) -> Self:
        """Return this method with its noise level set to a calibrated ``noise``; needed to ask, not to answer."""
        ...

    def start(self, rng: np.random.Generator) -> State:
        """Return the state before the first question; ``rng`` draws public starting values.

        Raises:
            SpecError: the method is private and its noise level is not set (:meth:`at`).
        """
        ...

    def ask(self, state: State) -> Question | None:
        """Return the next question, None when finished. Pure: the same state asks the same question."""
        ...

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the site's sum over the sampled donors, (question.length,), each clipped to its bound.

        A question of unit ``site`` is answered with one vector of the whole site, clipped to the bound; ``rng``
        then is :class:`HomeSteps`, and ``sample`` is empty where noise is added at home: data come by its steps.
        Any payload is answered within the bound; what a masked slot holds plays no part.

        Raises:
            SpecError: the payload has not the names or shapes this method sends.
        """
        ...

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after ``question`` gave ``total``, the noisy sum, float64 (reply_length,).

        A selection gives its winners instead: indices, largest score first, int64 (reply_length,).

        Post-processing: reads nothing else. The state passed in is left as it was.
        """
        ...

    def release(self, state: State) -> dict[str, Array]:
        """Return the arrays that leave: finite, and learned from noisy sums and public facts only."""
        ...


@runtime_checkable
class Placed(Protocol):
    """A method whose questions depend on the trust model. All others send one sum of clipped donors a question."""

    def under(self, trust: TrustModel, sites: int) -> Method:
        """Return this method under ``trust`` at so many sites.

        Raises:
            SpecError: it has no form under ``trust``; says which would do.
        """
        ...


@runtime_checkable
class Following(Protocol):
    """A method about what earlier ones of the study release. It alone is shown donors who are held."""

    def holding(self, sites: int, canaries: int) -> Self:
        """Return this method for a study whose sites each hold so many canaries."""
        ...

    def followed(self, earlier: Mapping[str, Method]) -> str:
        """Return the label of the method, of those before it in the study, that it is about.

        Raises:
            SpecError: there is none.
        """
        ...

    def follow(self, state: State, method: Method, arrays: Mapping[str, Array]) -> State:
        """Return the state to start from, given that method and what it released. Pure."""
        ...


@runtime_checkable
class Generator(Protocol):
    """A method whose release can generate rows. Needs the released arrays and public facts only."""

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return the noisy share of each label, float64 (labels,), >= 0, summing to 1."""
        ...

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Return one generated row for each label code of ``labels`` (n,), float32 (n, genes) within the range."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """A method whose release tells labels. Needs the released arrays and public facts only."""

    def predict(self, arrays: Mapping[str, Array], x: Array) -> Array:
        """Return the label code of each row of ``x`` (n, genes), int64 (n,)."""
        ...


@runtime_checkable
class Masker(Protocol):
    """A method whose release says what of a person's row may be told. Needs the released arrays and public facts only.

    What leaves beside the arrays is rows of real people: no guarantee covers those.
    """

    def masked(self, arrays: Mapping[str, Array], x: Array) -> Array:
        """Return what is told of rows ``x`` (n, genes), float32 (n, genes), NaN where an entry is withheld."""
        ...


@runtime_checkable
class Scored(Protocol):
    """A method whose release tells how well it knows a row: what whoever holds the weights can compute."""

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's loss under what is released, float64 (rows,): the lower, the better it is known.

        A row's loss depends on no other row, and is the same each time: nothing is drawn.

        Args:
            arrays: What :meth:`Method.release` gave.
            x: Finite values within the public range, (rows, genes).
            label: Codes of the schema's labels, int (rows,).
        """
        ...


@runtime_checkable
class Speaking(Protocol):
    """A method whose release is a language model."""

    def released(self, arrays: Mapping[str, Array]) -> LanguageModel:
        """Return the model with its released weights; other calls of the method may change them."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A method whose states can be judged on rows at hand, for the operator's eyes only."""

    def loss(self, state: State, rows: Shard) -> float:
        """Return the mean loss of the unmasked rows. It reads them without noise: internal, never released."""
        ...
