"""DP-FedSGD of a conditional VAE: one query for label counts, then rounds (DESIGN §3)."""

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
from torch import Tensor
from torch.nn import functional

from fedgenome.cohort.shard import Shard
from fedgenome.methods.base import DonorStreams, drawn_rows
from fedgenome.methods.rounds import MOST_ROWS, Batch, RoundOptions, Rounds, ranks, row_draws
from fedgenome.models import cvae
from fedgenome.models.parameters import initialise, load_flat
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Mechanism, Question, State

_CHUNK = 1 << 14  # rows decoded at a time


class Options(RoundOptions):
    """Options of ``fedsgd`` and ``cvae``."""

    model: Literal["cvae"] = Field(default="cvae", description="what is trained")
    hidden: int = Field(default=64, ge=1, le=100_000, description="width of the hidden layers")
    latent: int = Field(default=8, ge=1, le=10_000, description="width of the latent space")
    beta: float = Field(default=1.0, ge=0, description="weight of the KL term")
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
class FedSgd(Rounds[Options]):
    """A conditional VAE trained by clipped gradient sums.

    State: that of :class:`Rounds`, and ``label_weights`` (labels,) float64.
    """

    @property
    def before(self) -> int:
        """One: the label counts."""
        return 1

    @functools.cached_property
    def model(self) -> cvae.CVAE:
        """The model's shell, made once."""
        genes, labels = len(self.schema.genes), len(self.schema.labels)
        return cvae.CVAE(genes, labels, self.options.hidden, self.options.latent, beta=self.options.beta)

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the autoencoder's weights."""
        initialise(self.model, rng)

    def row_loss(self, model: cvae.CVAE, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return each row's negative evidence bound."""
        return cvae.loss(model, inputs)

    def plan(self, noise: float) -> tuple[Mechanism, ...]:
        """Return the label counts and the rounds; nothing under trust none."""
        rounds = super().plan(noise)
        level = noise * self.factor * self.options.labels_noise
        return (Mechanism(kind="gaussian", level=level, scope=self.name), *rounds) if rounds else ()

    def start(self, rng: np.random.Generator) -> State:
        """Return the state of :meth:`Rounds.start`, all labels alike."""
        labels = len(self.schema.labels)
        return super().start(rng) | {"label_weights": np.full(labels, 1 / labels)}

    def ask(self, state: State) -> Question | None:
        """Ask for label counts first, then for a gradient sum per round, then None. No torch work."""
        if int(state["step"]) >= self.before:
            return super().ask(state)
        n = len(self.schema.labels)
        return Question(payload={}, length=n, reply_length=n, bound=1.0, mechanism=self.mechanism(0))

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return label counts (no payload), or the clipped gradient sum at the payload's weights.

        A donor with several rows counts with the mean of their label one-hots, or of the first 64 rows'
        gradients. A row with NaN has no gradient.
        """
        if question.payload:
            return super().answer(question, sample, rng)
        self.require_genes(sample)
        return sum_rows(self._onehot(sample.label), sample.donor, sample.mask, question.bound)

    def batch(self, sample: Shard, rng: DonorStreams) -> Batch:
        """Return scaled expression, labels and latent draws; complete rows with a known label count."""
        rank = ranks(sample.donor)
        kept = np.flatnonzero(rank < MOST_ROWS)
        x = self._scaled(sample.x[kept])
        return Batch(
            inputs=(x, self._onehot(sample.label)[kept], row_draws(sample, rank, rng, self.options.latent)[kept]),
            donor=sample.donor[kept],
            mask=sample.mask[kept] & np.isfinite(x).all(1) & (sample.label[kept] < len(self.schema.labels)),
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

    def learn(self, state: State, question: Question, total: Array) -> State:
        """Return the state after label counts, or after one Adam step on the noisy mean gradient."""
        if question.payload:
            return super().learn(state, question, total)
        counts = np.maximum(np.asarray(total, np.float64), 0)
        after = {**state, "step": np.array(1, np.int64)}
        return after | ({"label_weights": counts / counts.sum()} if counts.any() else {})

    def release(self, state: State) -> dict[str, Array]:
        """Return ``weights`` (P,), ``label_weights`` (labels,) and ``curve`` (rounds,)."""
        self.require_finished(state)
        return {name: state[name] for name in ("weights", "label_weights", "curve")}

    def loss(self, state: State, rows: Shard) -> float:
        """Return the mean loss of the unmasked, complete rows (:meth:`losses`). Internal, never released."""
        kept = rows.mask & np.isfinite(rows.x).all(1)
        return float(self.losses(state, rows.x[kept], rows.label[kept]).mean()) if kept.any() else math.nan

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each row's negative evidence bound at its latent's mean (constants left out), float64 (rows,)."""
        load_flat(self.model, arrays["weights"])
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
        load_flat(self.model, arrays["weights"])
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
        return drawn_rows(self.schema, out)
