"""Rounds of clipped per-donor gradient sums: what every method trained by DP-FedSGD shares (DESIGN §3).

The coordinator sends weights, sites answer with the sum of their sampled donors' clipped gradients, and
an optimiser steps on the noisy sum divided by a public constant: everything after the sum is post-processing.
"""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from fedgenome.addition import gradient_precision
from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.learner import Learner
from fedgenome.methods.memory import Recycled
from fedgenome.models.parameters import flatten, load_flat
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.privacy.gradients import sum_gradients
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.strict import Strict

_MOMENTS = 0.9, 0.999  # Adam's decay of gradient and squared gradient
_SMALL = 1e-8
_CACHED = 1 << 15  # weights that a step is taken for at a time
MOST_ROWS = 64  # rows of one donor that take part in a gradient; its further rows are left out


class RoundOptions(Strict):
    """Options of every method that is trained in rounds of gradient sums."""

    rounds: int = Field(default=200, ge=1, le=1_000_000, description="gradient queries")
    sampling: float = Field(default=0.2, gt=0, le=1, description="chance of each donor to be in a round's sample")
    clip: float = Field(default=1.0, gt=0, description="L2 bound of one donor's gradient")
    rate: float = Field(default=0.01, gt=0, description="Adam's learning rate")
    local_steps: int | None = Field(
        default=None, ge=1, le=10_000, description="steps a site takes at home each round (trust local, site, none)"
    )
    local_rate: float = Field(default=0.1, gt=0, description="learning rate of these steps")
    site_clip: float = Field(default=1.0, gt=0, description="L2 bound of a site's move under trust site")


Options = TypeVar("Options", bound=RoundOptions)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """What a sample's rows are to the model.

    Attributes:
        inputs: Arrays of (rows, …) each, for the model's loss.
        donor: Whose row it is, int64 (rows,), an index into the sample's donors.
        mask: Whether the row counts, bool (rows,).
    """

    inputs: tuple[Array, ...]
    donor: Array
    mask: Array


@dataclass(frozen=True, kw_only=True)
class Rounds(Learner[Options], abc.ABC):
    """A model trained by clipped gradient sums. Not for two threads at once: they would share its model.

    State: ``step`` (queries answered), ``weights``, Adam's ``first`` and ``second`` moments (P,) float32,
    ``curve`` (rounds,) float64.
    """

    @property
    @abc.abstractmethod
    def model(self) -> nn.Module:
        """The model's shell; whoever needs it loads weights first."""

    @abc.abstractmethod
    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the model's public starting weights."""

    @abc.abstractmethod
    def row_loss(self, model: Any, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return one loss a row, (rows,)."""

    @abc.abstractmethod
    def batch(self, sample: Shard, rng: DonorStreams) -> Batch:
        """Return the rows that take part: at most ``MOST_ROWS`` of a donor."""

    @property
    def before(self) -> int:
        """Questions of the method's own before the first round."""
        return 0

    @property
    def sent(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a round's payload, all of it float32."""
        return {"weights": (self.parameters,)}

    def payload(self, state: State) -> dict[str, Array]:
        """Return what a round's question carries."""
        return {"weights": state["weights"]}

    def of_round(self, question: Question) -> bool:
        """Whether ``question`` is a round's, of those that the method asks."""
        return bool(question.payload)

    def asked_of(self, question: Question, sample: Shard, rng: DonorStreams) -> Batch:
        """Return the rows that take part in a round, with what its payload says of them."""
        return self.batch(sample, rng)

    def load(self, question: Question, sent: dict[str, tuple[int, ...]]) -> None:
        """Load the payload's weights, once it is what the method sends.

        Raises:
            SpecError: it has other names, shapes or kinds of numbers.
        """
        told = {name: array.shape for name, array in question.payload.items()}
        fits = told == sent and all(array.dtype == np.float32 for array in question.payload.values())
        require(fits, f"a payload of {self.parameters} float32 weights" + " and more" * (len(sent) > 1), shapes=told)
        load_flat(self.model, question.payload["weights"])

    @functools.cached_property
    def memory(self) -> Recycled:
        """Memory of sums and states, used again once nobody holds them."""
        return Recycled()

    @functools.cached_property
    def parameters(self) -> int:
        """Number of weights P."""
        return sum(p.numel() for p in self.model.parameters())

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the rounds; nothing under trust none."""
        if not self.private:
            return ()
        level, options = noise * self.factor, self.options
        rounds = Mechanism(
            kind="gaussian", level=level, sampling=options.sampling, count=options.rounds, scope=self.name
        )
        return (rounds,)

    def start(self, rng: np.random.Generator) -> State:
        """Return random weights, public like their generator's seed, and an optimiser at rest."""
        require(not self.private or self.noise is not None, f"methods.{self.name}: a noise level before it starts")
        self.initialise(rng)
        return {
            "step": np.array(0, np.int64),
            "weights": flatten(self.model),
            "first": np.zeros(self.parameters, np.float32),
            "second": np.zeros(self.parameters, np.float32),
            "curve": np.zeros(self.options.rounds),
        }

    def ask(self, state: State) -> Question | None:
        """Ask for a gradient sum a round, then None. No torch work."""
        if int(state["step"]) >= self.before + self.options.rounds:
            return None
        mechanism = self.mechanism(-1)
        return Question(
            payload=self.payload(state),
            length=state["weights"].size,
            reply_length=state["weights"].size,
            bound=self.options.clip,
            mechanism=mechanism,
            precision=gradient_precision(self.donors_bound, mechanism.sampling if mechanism else 1.0),
        )

    def mechanism(self, position: int) -> Mechanism | None:
        """Return the form of the plan's mechanism at ``position``; None where nothing is noised."""
        return self.plan(self.noise)[position].form if self.private and self.noise is not None else None

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the clipped gradient sum at the payload's weights; of a donor the first 64 rows."""
        self.require_genes(sample)
        self.load(question, self.sent)
        rows = self.asked_of(question, sample, rng)
        return sum_gradients(
            self.model,
            self.row_loss,
            tuple(torch.from_numpy(array) for array in rows.inputs),
            torch.from_numpy(rows.donor),
            torch.from_numpy(rows.mask),
            question.bound,
            question.precision,
            self.memory.empty(self.parameters, np.float64),
        )

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after one Adam step on the noisy mean gradient."""
        expected = (self.options.sampling if self.private else 1.0) * self.donors_bound
        mean = self.memory.empty(len(total), np.float32)
        np.divide(total, expected, out=mean, dtype=np.float64, casting="same_kind")
        after = self.stepped(state, mean)
        after["weights"].setflags(write=False)  # so that a question need not copy them
        return after

    def stepped(self, state: State, gradient: npt.NDArray[np.float32]) -> State:
        """Return the state after one Adam step.

        ``curve`` gets the gradient's norm: post-processing of a paid sum, mostly noise at a small ε.
        """
        step, curve = int(state["step"]), state["curve"].copy()
        done = step - self.before
        curve[done] = math.sqrt(np.einsum("i,i->", gradient, gradient, dtype=np.float64))
        after = {**state, "step": np.array(step + 1, np.int64), "curve": curve}
        return after | adam(state, gradient, done + 1, self.options.rate, self.memory.empty)

    def require_genes(self, sample: Shard) -> None:
        """Check that a shard has the schema's genes."""
        genes = len(self.schema.genes)
        require(sample.x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=sample.x.shape[1])

    def require_finished(self, state: State) -> None:
        """Check that every question was asked."""
        require(int(state["step"]) >= self.before + self.options.rounds, f"methods.{self.name}: a finished run")


def ranks(donor: Array) -> npt.NDArray[np.int64]:
    """Return each slot's rank among its donor's slots, in slot order; it depends on no other donor.

    >>> ranks(np.array([1, 0, 1, 1])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(donor, kind="stable")
    first = np.searchsorted(donor[order], donor[order])
    out = np.empty(len(donor), np.int64)
    out[order] = np.arange(len(donor)) - first
    return out


def row_draws(sample: Shard, rank: Array, rng: DonorStreams, size: int) -> npt.NDArray[np.float32]:
    """Return ``size`` draws a slot, (slots, size), from its donor's stream at the slot's rank; 0 beyond the first 64.

    Args:
        rank: Of each slot among its donor's (:func:`ranks`).
    """
    most = np.minimum(np.bincount(sample.donor, minlength=sample.n_donors), MOST_ROWS)
    draws = np.zeros((len(rank), size), np.float32)
    for rows in np.unique(most[most > 0]):  # donors of equally many rows together: no padding to the largest
        owners = np.flatnonzero(most == rows)
        drawn = rng.normal([sample.donors[i] for i in owners], int(rows) * size)
        where = np.flatnonzero((most[sample.donor] == rows) & (rank < rows))
        position = np.searchsorted(owners, sample.donor[where])
        draws[where] = drawn.reshape(len(owners), rows, size)[position, rank[where]]
    return draws


def adam(
    state: State,
    gradient: npt.NDArray[np.float32],
    step: int,
    rate: float,
    empty: Callable[[int, npt.DTypeLike], Array] = np.empty,
) -> State:
    """Return ``weights``, ``first`` and ``second`` after one step of Adam (Kingma & Ba 2015), all float32.

    Args:
        gradient: (P,), noisy.
        step: From 1.
        empty: Gives memory of a length and type.
    """
    after = {name: empty(len(gradient), np.float32) for name in ("weights", "first", "second")}
    scratch = np.empty(min(len(gradient), _CACHED), np.float32)
    for i in range(0, len(gradient), _CACHED):
        some = slice(i, i + _CACHED)
        own = {name: state[name][some] for name in after}
        _adam(own, {name: array[some] for name, array in after.items()}, gradient[some], scratch, step, rate)
    return after


def _adam(own: State, after: State, gradient: Array, scratch: Array, step: int, rate: float) -> None:
    """Write ``after`` in place: what is not in cache costs more than the arithmetic."""
    slow, slower = _MOMENTS
    small = scratch[: len(gradient)]
    for name, decay, power in (("first", slow, gradient), ("second", slower, np.square(gradient))):
        np.multiply(own[name], np.float32(decay), out=after[name])
        after[name] += np.multiply(power, np.float32(1 - decay), out=small)
    np.divide(after["second"], np.float32(1 - slower**step), out=small)
    np.sqrt(small, out=small)
    small += np.float32(_SMALL)
    np.multiply(after["first"], np.float32(rate / (1 - slow**step)), out=after["weights"])
    after["weights"] /= small
    np.subtract(own["weights"], after["weights"], out=after["weights"])
