"""DP-FedSGD: rounds of clipped per-donor gradient sums, after one query for label counts (DESIGN §3).

The coordinator sends weights, sites answer with the sum of their sampled donors' clipped gradients, and
an optimiser steps on the noisy sum divided by a public constant: everything after the sum is post-processing.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch.nn import functional

from fedgenome.addition import gradient_precision
from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.learner import Learner
from fedgenome.models import cvae
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.privacy.gradients import sum_gradients
from fedgenome.query import Array, Mechanism, Question, State
from fedgenome.strict import Strict

_MOMENTS = 0.9, 0.999  # Adam's decay of gradient and squared gradient
_SMALL = 1e-8
MOST_ROWS = 64  # rows of one donor that take part in a gradient; its further rows are left out
_CHUNK = 1 << 14  # rows decoded at a time


class Options(Strict):
    """Options of ``fedsgd`` and ``cvae``."""

    model: Literal["cvae"] = Field(default="cvae", description="what is trained")
    hidden: int = Field(default=64, ge=1, le=100_000, description="width of the hidden layers")
    latent: int = Field(default=8, ge=1, le=10_000, description="width of the latent space")
    beta: float = Field(default=1.0, ge=0, description="weight of the KL term")
    rounds: int = Field(default=200, ge=1, le=1_000_000, description="gradient queries")
    sampling: float = Field(default=0.2, gt=0, le=1, description="chance of each donor to be in a round's sample")
    clip: float = Field(default=1.0, gt=0, description="L2 bound of one donor's gradient")
    rate: float = Field(default=0.01, gt=0, description="Adam's learning rate")
    local_steps: int | None = Field(
        default=None, ge=1, le=10_000, description="steps a site takes at home each round (trust local, site, none)"
    )
    local_rate: float = Field(default=0.1, gt=0, description="learning rate of these steps")
    site_clip: float = Field(default=1.0, gt=0, description="L2 bound of a site's move under trust site")
    labels_noise: float = Field(default=4.0, gt=0, description="noise of the label counts relative to a round's")
    normalise: Literal["off", "gene", "global"] = Field(
        default="off", description="centre and scale learned by a charged query first, of each gene or of all"
    )
    clip_quantile: float | None = Field(
        default=None, gt=0, lt=1, description="clip at this quantile of gradient norms, by a charged query, around clip"
    )
    preludes_noise: float = Field(default=2.0, gt=0, description="noise of these queries relative to a round's")
    floor: float = Field(
        default=1.0, ge=0, description="generated values within so many noise standard deviations of low become low"
    )


@dataclass(frozen=True, kw_only=True)
class FedSgd(Learner[Options]):
    """A conditional VAE trained by clipped gradient sums. Not for two threads at once: they would share its model.

    State: ``step`` (queries answered), ``weights``, Adam's ``first`` and ``second`` moments (P,) float32,
    ``label_weights`` (labels,) float64, ``curve`` (rounds,) float64.
    """

    @functools.cached_property
    def model(self) -> cvae.CVAE:
        """The model's shell, made once; whoever needs it loads weights first."""
        genes, labels = len(self.schema.genes), len(self.schema.labels)
        return cvae.CVAE(genes, labels, self.options.hidden, self.options.latent, beta=self.options.beta)

    @functools.cached_property
    def parameters(self) -> int:
        """Number of weights P."""
        return sum(p.numel() for p in self.model.parameters())

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the label counts and the rounds; nothing under trust none."""
        if not self.private:
            return ()
        level, options = noise * self.factor, self.options
        return (
            Mechanism(kind="gaussian", level=level * options.labels_noise, scope=self.name),
            Mechanism(kind="gaussian", level=level, sampling=options.sampling, count=options.rounds, scope=self.name),
        )

    def start(self, rng: np.random.Generator) -> State:
        """Return random weights, public like their generator's seed, and an optimiser at rest."""
        require(not self.private or self.noise is not None, f"methods.{self.name}: a noise level before it starts")
        cvae.initialise(self.model, rng)
        labels = len(self.schema.labels)
        return {
            "step": np.array(0, np.int64),
            "weights": cvae.flatten(self.model),
            "first": np.zeros(self.parameters, np.float32),
            "second": np.zeros(self.parameters, np.float32),
            "label_weights": np.full(labels, 1 / labels),
            "curve": np.zeros(self.options.rounds),
        }

    def ask(self, state: State) -> Question | None:
        """Ask for label counts first, then for a gradient sum per round, then None. No torch work."""
        step = int(state["step"])
        if step > self.options.rounds:
            return None
        labels, gradients = self._mechanisms()
        if step == 0:
            n = len(self.schema.labels)
            return Question(payload={}, length=n, reply_length=n, bound=1.0, mechanism=labels)
        return Question(
            payload={"weights": state["weights"]},
            length=state["weights"].size,
            reply_length=state["weights"].size,
            bound=self.options.clip,
            mechanism=gradients,
            precision=gradient_precision(self.donors_bound, gradients.sampling if gradients else 1.0),
        )

    def _mechanisms(self) -> tuple[Mechanism | None, Mechanism | None]:
        if self.noise is None or not self.private:
            return None, None
        labels, gradients = self.plan(self.noise)
        return labels.form, gradients.form

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return label counts (no payload), or the clipped gradient sum at the payload's weights.

        A donor with several rows counts with the mean of their label one-hots, or of the first 64 rows'
        gradients. A row with NaN has no gradient.
        """
        genes = len(self.schema.genes)
        require(sample.x.shape[1] == genes, f"a shard of the schema's {genes} genes", genes=sample.x.shape[1])
        if not question.payload:
            return sum_rows(self._onehot(sample.label), sample.donor, sample.mask, question.bound)
        weights = question.payload.get("weights", np.zeros(0))
        fits = len(question.payload) == 1 and weights.shape == (self.parameters,) and weights.dtype == np.float32
        names = tuple(question.payload)
        require(fits, f"a payload of {self.parameters} float32 weights", names=names, shape=weights.shape)
        cvae.load_flat(self.model, weights)
        rank = ranks(sample.donor)
        kept = np.flatnonzero(rank < MOST_ROWS)
        x = self._scaled(sample.x[kept])
        inputs = x, self._onehot(sample.label)[kept], self._draws(sample, rank, rng)[kept]
        mask = sample.mask[kept] & np.isfinite(x).all(1) & (sample.label[kept] < len(self.schema.labels))
        return sum_gradients(
            self.model,
            cvae.loss,
            tuple(torch.from_numpy(array) for array in inputs),
            torch.from_numpy(sample.donor[kept]),
            torch.from_numpy(mask),
            question.bound,
            question.precision,
        )

    def _onehot(self, label: Array) -> npt.NDArray[np.float32]:
        """Return labels one-hot, (rows, labels); a label that the schema does not have is all zeros."""
        onehot: npt.NDArray[np.bool_] = label[:, None] == np.arange(len(self.schema.labels))
        return onehot.astype(np.float32)

    def _scaled(self, x: Array) -> npt.NDArray[np.float32]:
        """Return expression scaled from the public range to [0, 1]."""
        low, high = self.schema.low, self.schema.high
        scaled: Array = (x - low) / (high - low)
        return scaled.astype(np.float32)

    def _draws(self, sample: Shard, rank: Array, rng: DonorStreams) -> npt.NDArray[np.float32]:
        """Return one latent draw a slot, (slots, latent), from its donor's stream at the slot's rank."""
        latent = self.options.latent
        most = np.minimum(np.bincount(sample.donor, minlength=sample.n_donors), MOST_ROWS)
        draws = np.zeros((len(rank), latent), np.float32)
        for rows in np.unique(most[most > 0]):  # donors of equally many rows together: no padding to the largest
            owners = np.flatnonzero(most == rows)
            drawn = rng.normal([sample.donors[i] for i in owners], int(rows) * latent)
            where = np.flatnonzero((most[sample.donor] == rows) & (rank < rows))
            position = np.searchsorted(owners, sample.donor[where])
            draws[where] = drawn.reshape(len(owners), rows, latent)[position, rank[where]]
        return draws

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after label counts, or after one Adam step on the noisy mean gradient.

        ``curve`` gets the norm of that mean: post-processing of a paid sum, mostly noise at a small ε.
        """
        step = int(state["step"])
        after = {**state, "step": np.array(step + 1, np.int64)}
        if step == 0:
            counts = np.maximum(np.asarray(total, np.float64), 0)
            return after | ({"label_weights": counts / counts.sum()} if counts.any() else {})
        expected = (self.options.sampling if self.private else 1.0) * self.donors_bound
        gradient = (np.asarray(total, np.float64) / expected).astype(np.float32)
        curve = state["curve"].copy()
        curve[step - 1] = np.linalg.norm(gradient.astype(np.float64))
        return after | {"curve": curve} | adam(state, gradient, step, self.options.rate)

    def release(self, state: State) -> dict[str, Array]:
        """Return ``weights`` (P,), ``label_weights`` (labels,) and ``curve`` (rounds,)."""
        require(int(state["step"]) > self.options.rounds, f"methods.{self.name}: a finished run")
        return {name: state[name] for name in ("weights", "label_weights", "curve")}

    def loss(self, state: State, rows: Shard) -> float:
        """Return the mean loss of the unmasked, complete rows (:meth:`losses`). Internal, never released."""
        kept = rows.mask & np.isfinite(rows.x).all(1)
        return float(self.losses(state, rows.x[kept], rows.label[kept]).mean()) if kept.any() else math.nan

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's negative evidence bound at its latent's mean (constants left out), float64 (rows,)."""
        cvae.load_flat(self.model, arrays["weights"])
        out = np.empty(len(x))
        for i in range(0, len(x), _CHUNK):
            rows, onehot = self._scaled(x[i : i + _CHUNK]), self._onehot(label[i : i + _CHUNK])
            draws = np.zeros((len(rows), self.options.latent), np.float32)
            with torch.no_grad():
                inputs = tuple(torch.from_numpy(array) for array in (rows, onehot, draws))
                out[i : i + _CHUNK] = cvae.loss(self.model, inputs).numpy()
        return out

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return the share of each label, float64 (labels,)."""
        return np.asarray(arrays["label_weights"], np.float64)

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Decode one latent draw for each label code, float32 (n, genes) within the public range."""
        cvae.load_flat(self.model, arrays["weights"])
        low, high = self.schema.low, self.schema.high
        out = np.zeros((len(labels), len(self.schema.genes)), np.float32)
        for i in range(0, len(labels), _CHUNK):
            codes = torch.from_numpy(np.asarray(labels[i : i + _CHUNK], np.int64))
            z = torch.from_numpy(rng.standard_normal((len(codes), self.options.latent), np.float32))
            with torch.no_grad():
                decoded = self.model.decode(z, functional.one_hot(codes, len(self.schema.labels)).float()).numpy()
            noise = math.sqrt(self.model.variance) * rng.standard_normal(decoded.shape, np.float32)
            values = np.nan_to_num(decoded) + noise
            # Expression has an atom at its low end, which a Gaussian around a mean has not.
            values[values < self.options.floor * math.sqrt(self.model.variance)] = 0
            out[i : i + _CHUNK] = low + (high - low) * values.clip(0, 1)
        return np.clip(out, np.float32(low), np.float32(high), out=out)


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


def adam(state: State, gradient: npt.NDArray[np.float32], step: int, rate: float) -> State:
    """Return ``weights``, ``first`` and ``second`` after one step of Adam (Kingma & Ba 2015), all float32.

    Args:
        gradient: (P,), noisy.
        step: From 1.
    """
    slow, slower = _MOMENTS
    first = np.float32(slow) * state["first"] + np.float32(1 - slow) * gradient
    second = np.float32(slower) * state["second"] + np.float32(1 - slower) * gradient**2
    scale = np.float32(rate / (1 - slow**step))
    root = np.sqrt(second / np.float32(1 - slower**step)) + np.float32(_SMALL)
    return {"weights": state["weights"] - scale * first / root, "first": first, "second": second}
