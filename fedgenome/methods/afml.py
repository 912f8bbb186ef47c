"""Adversarial feature masking as its paper has it, to compare with: every person's own mask, a closed set of names.

Identities are told among a site's own donors, so that every donor is in every other's loss, and a mask that depends on
the person tells of the person by itself: there is no guarantee for a donor, and ``masking`` is what to use.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.fedavg import AtHome
from fedgenome.methods.rounds import MOST_ROWS, Batch, RoundOptions, ranks
from fedgenome.models.masking.paper import CODE, Loss, Paper, unit
from fedgenome.models.parameters import initialise, load_flat
from fedgenome.query import Array, State
from fedgenome.streams import Root
from fedgenome.study import TrustModel

_CHUNK = 1 << 10  # rows masked at a time


class Options(RoundOptions):
    """Options of ``afml``."""

    rounds: int = Field(default=50, ge=1, le=1_000_000, description="times that sites' networks are averaged")
    local_steps: int | None = Field(default=5, ge=1, le=10_000, description="steps a site takes at home each round")
    loss: Loss = Field(default="sound", description="the masker's: sound, or as printed, which helps the identifier")
    hard: bool = Field(default=True, description="entries are withheld whole, in place of x · M")
    sparsity: float = Field(default=0.1, ge=0, description="λ: weight of what is withheld; printed: of what is kept")
    usefulness: float = Field(default=1.0, ge=0, description="μ: weight of the label's loss in the sound form")


@dataclass(frozen=True, kw_only=True)
class Afml(AtHome[Options]):
    """A masker and an identifier, trained by several steps at every site a round.

    State: that of :class:`~fedgenome.methods.rounds.Rounds`; weights begin with the masker's.
    """

    def under(self, trust: TrustModel, sites: int) -> Self:
        """Return this method under ``trust`` at so many sites.

        Raises:
            SpecError: a trust model that bounds what one donor adds.
        """
        if trust in ("distributed", "local"):
            raise SpecError(
                f"methods.{self.name}: expected trust 'none' or 'site', as a site's donors are told from one another "
                "and each is in all their losses; kind masking has a form under trust 'distributed' and 'local'"
            )
        return super().under(trust, sites)

    @functools.cached_property
    def model(self) -> Paper:
        """The networks' shell, made once."""
        options = self.options
        return Paper(
            len(self.schema.genes),
            len(self.schema.labels),
            loss=options.loss,
            hard=options.hard,
            sparsity=options.sparsity,
            usefulness=options.usefulness,
        )

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the networks' weights."""
        initialise(self.model, rng)

    def row_loss(self, model: Paper, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return each row's loss."""
        loss: Tensor = model(*inputs)
        return loss

    def batch(self, sample: Shard, rng: DonorStreams) -> Batch:
        """Return scaled rows, whose they are and labels; complete rows with a known label count.

        A donor's code follows from its id, so that it stays the same from round to round; it never leaves.
        """
        root = Root.simulation(0, "afml")
        drawn = (root.stream(donor).generator().standard_normal(CODE, np.float32) for donor in sample.donors)
        self.model.codes = unit([torch.from_numpy(code) for code in drawn])
        kept = np.flatnonzero(ranks(sample.donor) < MOST_ROWS)
        x, label, labels = sample.x[kept], sample.label[kept], len(self.schema.labels)
        return Batch(
            inputs=(self._scaled(x), sample.donor[kept], np.where(label < labels, label, 0)),
            donor=sample.donor[kept],
            mask=sample.mask[kept] & np.isfinite(x).all(1) & (label < labels),
        )

    def _scaled(self, x: Array) -> Array:
        """Return rows scaled from the public range to [−1, 1]."""
        low, high = self.schema.low, self.schema.high
        return np.asarray(2 * (x - low) / (high - low) - 1, np.float32)

    def release(self, state: State) -> dict[str, Array]:
        """Return ``mask``, the masker's weights, and ``curve`` (rounds,). Regression and identifier stay."""
        self.require_finished(state)
        return {"mask": state["weights"][: self._masker_size], "curve": state["curve"]}

    @property
    def _masker_size(self) -> int:
        return sum(p.numel() for p in self.model.mask.parameters())

    def masked(self, arrays: Mapping[str, Array], x: Array) -> Array:
        """Return each row by its own mask, float32 (n, genes): hard NaN where withheld, soft the row times M(x)."""
        load_flat(self.model.mask, arrays["mask"])
        out = np.empty(x.shape, np.float32)
        for i in range(0, len(x), _CHUNK):
            rows = np.asarray(x[i : i + _CHUNK], np.float32)
            with torch.no_grad():
                keep = self.model.mask(torch.from_numpy(self._scaled(rows))).numpy()
            out[i : i + _CHUNK] = np.where(keep > 0.5, rows, np.nan) if self.options.hard else rows * keep
        return out
