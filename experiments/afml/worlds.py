"""One seed's people with a phenotype; what a release of them is worth: who is found, and what it is good for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from experiments.afml import attacks, panels, utility
from experiments.afml.lists import People
from experiments.afml.panels import Data, Panels, Sides
from fedgenome.cohort import phenotypes
from fedgenome.query import Array
from fedgenome.streams import Root

CAUSAL, HERITABILITY = 20, 0.6
LEARNING: Mapping[Data, int] = MappingProxyType({"real": 3, "made": 0})  # seeds at which networks look
Point = dict[str, Any]  # plain JSON values
Figures = Mapping[str, Any]  # the same, of a whole arm


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Whom one seed judges, and by what.

    Attributes:
        data: Which panels.
        seed: Which fold is judged.
        panels: The panels.
        sides: Who does what.
        label: Case or control, of the array records, int64 (people,).
        causal: Which variants are behind it.
    """

    data: Data
    seed: int
    panels: Panels
    sides: Sides
    label: Array
    causal: Array

    @property
    def rest(self) -> Array:
        """Array records of everybody who is not judged: whom the analyst trains on."""
        return np.setdiff1d(np.arange(len(self.label)), self.sides.judged)

    @property
    def people(self) -> People:
        """On whom lists are chosen."""
        return self.of(self.sides.chosen)

    def of(self, rows: Array) -> People:
        """Return some array records as lists see them."""
        return People(
            dosages=self.panels.array[rows],
            label=self.label[rows],
            ancestry=self.panels.ancestry[rows],
            contig=self.panels.contig,
            position=self.panels.position,
        )

    def rng(self, *words: str | int) -> np.random.Generator:
        """Return the draws of this seed that ``words`` name."""
        return Root.simulation(self.seed, "afml", self.data).stream(*words).generator()


@functools.lru_cache(maxsize=2)
def world(data: Data, seed: int) -> World:
    """Return a seed's world; phenotypes differ by seed."""
    found = panels.panels(data)
    rng = Root.simulation(seed, "afml", data).stream("phenotype").generator()
    drawn = phenotypes.simulate(found.array, rng, causal=CAUSAL, heritability=HERITABILITY)
    sides = panels.sides(found, seed)
    return World(data=data, seed=seed, panels=found, sides=sides, label=drawn.label, causal=drawn.causal)


def told(at: World, released: Array, columns: Array, words: tuple[str, ...]) -> Point:
    """Return what a release of dosages is worth: hits of each attacker, what leaked, AUC, and accuracy of ancestry.

    Args:
        at: Whose.
        released: What is released of everybody in the array panel, int8 (people, variants).
        columns: Which variants are told.
        words: Name the draws.
    """
    attacked = attacks.attacked(at.panels, at.sides, released, columns)
    rng = at.rng("attack", *words)
    hits = attacks.hits(attacked, rng, at.seed < LEARNING[at.data])
    return {"hits": hits} | attacks.leaked(attacked, rng) | useful(at, released[:, columns])


def useful(at: World, rows: Array) -> Point:
    """Return the AUC of the phenotype, and the accuracy of ancestry, from told rows (people, columns).

    Dosages that are not called get their mean; other numbers are as they are.
    """
    whole = np.issubdtype(rows.dtype, np.integer)
    numbers = utility.filled(rows, utility.means_of(rows[at.rest])) if whole else rows
    sides = at.rest, at.sides.judged
    cases, groups = (tuple((numbers[side], label[side]) for side in sides) for label in (at.label, at.panels.ancestry))
    return {"AUC": round(utility.phenotype(*cases), 5), "ancestry": round(utility.ancestry(*groups), 5)}
