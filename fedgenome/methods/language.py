"""Language models of sequences, trained in rounds of clipped per-donor gradient sums (DESIGN §3).

A donor's windows are its rows; its loss is the mean over them. Nothing is asked before the rounds. What comes along
the way, such as weights kept at some rounds, is post-processing of sums that are paid for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError, require
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.fedavg import AtHome
from fedgenome.methods.rounds import MOST_ROWS, Batch, RoundOptions, Rounds, ranks, row_draws
from fedgenome.models.language import adapters, base, sizes, writing
from fedgenome.models.parameters import divide, flatten, initialise, joined, load_flat
from fedgenome.query import Array, Question, State

_CHUNK = 1 << 12  # windows scored or written at a time


class Options(RoundOptions):
    """Options of ``language``."""

    architecture: sizes.Architecture = Field(default="lstm", description="how it reads; masked: both ways")
    capacity: sizes.Capacity = Field(default="small", description="its size, unless width and layers are given")
    width: int | None = Field(default=None, ge=1, le=4096, description="features of a position")
    layers: int | None = Field(default=None, ge=1, le=64, description="layers, or blocks")
    hidden: float = Field(default=0.15, gt=0, lt=1, description="chance of a token to be hidden, of masked models")
    base: Path | None = Field(
        default=None, description="tensors of a public release (model.safetensors): training starts from its weights"
    )
    adapters: int | None = Field(
        default=None, ge=1, description="rank of adapters, which alone are trained; needs a base"
    )
    kept: tuple[int, ...] = Field(default=(), description="rounds after which the weights are released as well")

    @property
    def model(self) -> sizes.Options:
        """The model's own options."""
        chosen = sizes.CAPACITIES[self.architecture][self.capacity]
        return sizes.Options(
            architecture=self.architecture, width=self.width or chosen.width, layers=self.layers or chosen.layers
        )


@dataclass(frozen=True, kw_only=True)
class Language(Rounds[Options]):
    """A language model of windows.

    State: that of :class:`Rounds`, ``kept`` (rounds kept, P) float32, and with adapters ``frozen`` (P,) float32.
    """

    @property
    def vocabulary(self) -> int:
        """V, the number of known tokens."""
        tokens = self.schema.tokens
        if tokens is None:
            raise SpecError(f"methods.{self.name}: expected a cohort of sequences (scale = 'codes'), got expression")
        return tokens.size

    @functools.cached_property
    def whole(self) -> sizes.Model:
        """The shell of the released model, made once."""
        return sizes.build(self.options.model, self.vocabulary, len(self.schema.genes))

    @functools.cached_property
    def model(self) -> sizes.Model:
        """The shell of what is trained, made once: the whole model, or adapters beside its frozen layers."""
        rank = self.options.adapters
        return self.whole if rank is None else adapters.adapt(self.whole, rank, np.random.default_rng(0))

    @functools.cached_property
    def _frozen(self) -> list[Tensor]:
        return [] if self.model is self.whole else adapters.frozen(self.model, self.whole)

    @property
    def masked(self) -> bool:
        """Whether the model fills in hidden tokens, in place of reading from left to right."""
        return not isinstance(self.whole, base.Causal)

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the model's weights, or its adapters'; of a base, take those."""
        whole = None if self.options.base is None else self._base(self.options.base)
        if self._frozen:
            require(whole is not None, f"methods.{self.name}.options.base: a public model for the adapters")
            divide(np.asarray(whole), self._frozen)
            adapters.restart(self.model, rng)
        elif whole is not None:
            load_flat(self.model, whole)
        else:
            initialise(self.model, rng)

    def _base(self, path: Path) -> Array:
        """Return the weights of a release's one method whose model has this shape."""
        size = sum(each.numel() for each in self.whole.parameters())
        field = f"methods.{self.name}.options.base"
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as fault:
            raise SpecError(f"{field}: expected a file of safetensors, got {path}: {fault}") from None
        found = [array for name, array in tensors.items() if name.endswith("/weights") and array.shape == (size,)]
        seen = {name: array.shape for name, array in tensors.items()}
        require(len(found) == 1, f"{field}: one method with {size} weights, as the options ask for", found=seen)
        return found[0]

    def row_loss(self, model: Any, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return each window's mean negative log-likelihood, nats a token."""
        return base.loss(model, inputs)

    def batch(self, sample: Shard, rng: DonorStreams) -> Batch:
        """Return token codes, and of a masked model what is hidden, by a donor's own draws."""
        rank = ranks(sample.donor)
        kept = np.flatnonzero(rank < MOST_ROWS)
        tokens = self._tokens(sample.x[kept])
        inputs: tuple[Array, ...] = (tokens,)
        if self.masked:
            below = NormalDist().inv_cdf(self.options.hidden)
            inputs = (tokens, row_draws(sample, rank, rng, len(self.schema.genes))[kept] < below)
        return Batch(inputs=inputs, donor=sample.donor[kept], mask=sample.mask[kept])

    def _tokens(self, x: Array) -> npt.NDArray[np.int64]:
        """Return codes; whatever is no known token becomes the unknown one."""
        with np.errstate(invalid="ignore"):
            known = (x >= 0) & (x < self.vocabulary) & (x == np.floor(x))
        return np.where(known, x, self.vocabulary).astype(np.int64)

    def start(self, rng: np.random.Generator) -> State:
        """Return the state of :meth:`Rounds.start`, nothing kept yet."""
        late = [r for r in self.options.kept if not 1 <= r <= self.options.rounds]
        require(not late, f"methods.{self.name}.options.kept: rounds of 1 … {self.options.rounds}", found=late)
        state = super().start(rng)
        if self._frozen:
            state["frozen"] = joined(self._frozen)
        return state | {"kept": np.zeros((len(self.options.kept), len(self._told(state))), np.float32)}

    def _told(self, state: State) -> Array:
        """Return the weights of the whole model: adapters are added to the layers they stand beside."""
        if not self._frozen:
            return state["weights"]
        divide(state["frozen"], self._frozen)
        load_flat(self.model, state["weights"])
        adapters.merge(self.model, self.whole)
        return flatten(self.whole)

    def payload(self, state: State) -> dict[str, Array]:
        """Return the weights and, beside adapters, what is frozen."""
        return super().payload(state) | ({"frozen": state["frozen"]} if self._frozen else {})

    @property
    def sent(self) -> dict[str, tuple[int, ...]]:
        """Shapes of a round's payload: weights and, beside adapters, what is frozen."""
        frozen = sum(each.numel() for each in self._frozen)
        return super().sent | ({"frozen": (frozen,)} if frozen else {})

    def load(self, question: Question, sent: dict[str, tuple[int, ...]]) -> None:
        """Load the payload's weights, and what is frozen."""
        super().load(question, sent)
        if self._frozen:
            divide(question.payload["frozen"], self._frozen)

    def stepped(self, state: State, gradient: npt.NDArray[np.float32]) -> State:
        """Return the state after one Adam step, with its weights kept if they are wanted."""
        after = super().stepped(state, gradient)
        if (done := int(after["step"])) in self.options.kept:
            after["kept"] = after["kept"].copy()
            after["kept"][self.options.kept.index(done)] = self._told(after)
        return after

    def release(self, state: State) -> dict[str, Array]:
        """Return ``weights`` (P,), ``curve`` (rounds,), and ``kept`` (rounds kept, P) if any were asked for."""
        self.require_finished(state)
        names = ("weights", "curve", "kept") if self.options.kept else ("weights", "curve")
        told = {**state, "weights": self._told(state)}
        return {name: told[name] for name in names}

    def released(self, arrays: Mapping[str, Array]) -> sizes.Model:
        """Return the model that ``arrays`` hold; the next call, or question, may change it."""
        load_flat(self.whole, arrays["weights"])
        return self.whole

    def losses(self, arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
        """Return each window's mean negative log-likelihood, nats a known token, float64 (rows,)."""
        model, tokens = self.released(arrays), self._tokens(x)
        parts = []
        for i in range(0, len(tokens), _CHUNK):
            logs = base.log_probabilities(model, torch.from_numpy(tokens[i : i + _CHUNK])).numpy()
            known = (tokens[i : i + _CHUNK] < self.vocabulary).sum(1)
            parts.append(-logs.sum(1) / np.maximum(known, 1))
        return np.concatenate(parts) if parts else np.zeros(0)

    def loss(self, state: State, rows: Shard) -> float:
        """Return the mean loss of the unmasked windows. Internal, never released."""
        kept, told = rows.mask, {"weights": self._told(state)}
        return float(self.losses(told, rows.x[kept], rows.label[kept]).mean()) if kept.any() else math.nan

    def label_weights(self, arrays: Mapping[str, Array]) -> Array:
        """Return equal shares: the model knows of no labels."""
        return np.full(len(self.schema.labels), 1 / len(self.schema.labels))

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Write one window for each of ``labels``, which say nothing to the model; codes, float32 (n, positions)."""
        written = writing.write(self.released(arrays), len(labels), len(self.schema.genes), rng)
        return written.numpy().astype(np.float32)


class LanguageAtHome(AtHome[Options], Language):
    """The model of :class:`Language`, trained by several steps at every site a round."""
