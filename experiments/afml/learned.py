"""Masks that the library learns: trained on the people on whom lists are chosen, as by one trusted server.

A round of ``masking`` is a clipped sum over donors, so that a federation of any split learns the same list but for what
each site rounds; :mod:`experiments.afml.federation` runs the real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from experiments.afml.worlds import World
from experiments.synthesis.loop import Facts, Kind, method, trained
from fedgenome.cohort.shard import Shard
from fedgenome.query import Array
from fedgenome.study import Schema

Target = Literal["phenotype", "ancestry"]

BOUND, DELTA, FILL = 400, 1e-4, 1.0  # public: donors in training, δ, the dosage in place of one not called
BUDGET = 5  # variants that a round's list tells; lists of other lengths are the top of the same scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A learned mask.

    Attributes:
        target: What it is to keep.
        options: Of ``masking``.
        epsilon: Its price; None: no privacy of the list.
    """

    target: Target
    options: Mapping[str, Any] = field(default_factory=dict)
    epsilon: float | None = None


def facts(at: World, target: Target) -> Facts:
    """Return what is public of the people on whom a list is chosen."""
    labels = ("control", "case") if target == "phenotype" else at.panels.ancestries
    schema = Schema(genes=at.panels.names, labels=labels, low=0.0, high=2.0, fill=FILL, unit="donor", dosages=True)
    return Facts(schema=schema, donors_bound=BOUND, delta=DELTA, rows=1)


def shard(at: World, target: Target) -> Shard:
    """Return those people as one site has them."""
    rows = at.sides.chosen
    dosages = at.panels.array[rows]
    label = at.label if target == "phenotype" else at.panels.ancestry
    return Shard(
        x=np.where(dosages < 0, FILL, dosages).astype(np.float32),
        label=label[rows],
        donor=np.arange(len(rows)),
        donors=tuple(f"person {row}" for row in rows),
        mask=np.ones(len(rows), np.bool_),
    )


def order(at: World, mask: Mask) -> Array:
    """Return all variants, highest keep logit first."""
    told = {"budget": BUDGET, **mask.options}
    made = method(Kind(kind="masking", options=told), facts(at, mask.target), mask.epsilon)
    arrays = trained(made, shard(at, mask.target), at.seed)
    return np.argsort(-arrays["score"], kind="stable")
