"""``marginals`` with ``bins = "standard"``: label × gene × bin tables of genes about a paid centre, in paid spreads.

Public bins fit data whose range is public and tight, such as log-normalised counts. Where genes lie far apart, as in
bulk expression, most values fall into one bin; here bins are the same for every gene once it is standardised. All
labels' table is shrunk towards the normal, each label's towards that of all (:mod:`~fedgenome.methods.margins`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from fedgenome.errors import require
from fedgenome.methods import margins, moments
from fedgenome.methods.bundle import Bundle, Floats, Rows
from fedgenome.methods.staged import Staged, StagedOptions, shares_of
from fedgenome.query import Array, State


class Options(StagedOptions):
    """Options of ``marginals`` with standard bins. Shares are relative."""

    bins: Literal["standard"] = Field(description="bins of every gene about its paid centre, in its paid spread")
    tables: float = Field(default=0.4, gt=0, description="budget share of the tables")


@dataclass(frozen=True, kw_only=True)
class Star(Staged[Options]):
    """Genes of a label are independent, each with the shares of bins that its table says.

    State, beside :class:`~fedgenome.methods.staged.Staged`'s: ``tables`` (labels, genes,
    :data:`~fedgenome.methods.margins.BINS`).
    """

    @property
    def shares(self) -> Mapping[str, float]:
        """Relative budget shares."""
        return {name: getattr(self.options, name) for name in ("labels", "centre", "spreads", "tables")}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(labels, genes, bins) of the tables."""
        return len(self.schema.labels), len(self.schema.genes), margins.BINS

    @property
    def later(self) -> tuple[Bundle, ...]:
        """The tables: a row has one bin a gene in its label's."""
        bound = math.sqrt(len(self.schema.genes))
        return (Bundle(statistics=(self.part("tables", math.prod(self.shape), bound),)),)

    def payload(self, state: State, step: int) -> dict[str, Array]:
        """Return nothing: centre and scale are all that a site needs."""
        return {}

    def step_of(self, payload: Mapping[str, Array]) -> int:
        """Return 2: there is one question of standardised genes."""
        require(set(payload) == {"centre", "scale"}, "a payload of centre and scale", names=sorted(payload))
        return 2

    def statistics(self, payload: Mapping[str, Array], z: Floats, label: Array) -> dict[str, Rows]:
        """Return label ⊗ bins."""
        return {"tables": (np.eye(len(self.schema.labels))[label], margins.indicators(z))}

    def untaught(self, rng: np.random.Generator) -> State:
        """Return even tables."""
        return {"tables": np.full(self.shape, 1 / margins.BINS)}

    def taught(self, state: State, bundle: Bundle, parts: Mapping[str, Floats]) -> State:
        """Return the tables as shares of bins."""
        labels, genes, _ = self.shape
        counted, blur = parts["tables"].reshape(self.shape), bundle.deviation("tables", self.level)
        sizes = np.maximum(counted.sum(2).mean(1), 1.0)  # a label's donors, as all its genes say
        normal = margins.expected(*_normal(genes))
        pooled = margins.learned(counted.sum(0) / sizes.sum(), normal, blur * math.sqrt(labels) / sizes.sum())
        each = zip(counted, sizes, strict=True)
        return {"tables": np.stack([margins.learned(one / size, pooled, blur / size) for one, size in each])}

    def release(self, state: State) -> dict[str, Array]:
        """Return ``label_weights``, ``centre``, ``scale`` and ``tables``."""
        require(int(state["step"]) == len(self.bundles), f"methods.{self.name}: a finished run")
        told = {name: state[name].astype(np.float32) for name in ("centre", "scale", "tables")}
        return {"label_weights": shares_of(state["counts"])} | told

    def sample(self, arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator) -> Array:
        """Draw one row for each label code, genes independent given the label, float32 (n, genes)."""
        genes = len(self.schema.genes)
        z = rng.standard_normal((len(labels), genes))
        if self.options.mirrored:
            moments.mirror(z, labels)
        tables = np.asarray(arrays["tables"], np.float64)
        for label in np.unique(labels):
            at = labels == label
            z[at] = margins.shaped(z[at], tables[label], *_normal(genes))
        return np.clip(arrays["centre"] + arrays["scale"] * z, self.schema.low, self.schema.high).astype(np.float32)


def _normal(genes: int) -> tuple[Floats, Floats, Floats]:
    """Return means, deviations and weights of standardised genes before their tables are known."""
    return np.zeros((1, genes)), np.ones(genes), np.ones(1)
