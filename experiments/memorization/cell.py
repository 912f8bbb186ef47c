"""One training run and what it shows: which run, and what is looked at after which epoch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from experiments.memorization import looks, private, regimes, worlds
from experiments.memorization.looks import Looked, bits_of, look, recited
from experiments.memorization.regimes import Plain
from experiments.memorization.worlds import Data, Scale, World
from fedgenome.audit.language import markov
from fedgenome.models.language.base import Causal
from fedgenome.models.language.sizes import CAPACITIES, Architecture, Capacity, Model
from fedgenome.streams import Root

Regime = Plain | Literal["rounds"]  # rounds of clipped sums, with noise where there is a price

ORDER = 4  # of the chain of public windows that perplexities are compared with
PLANTED: Mapping[Regime, tuple[int, ...]] = MappingProxyType({"one rate": (16,), "nothing planted": ()})  # else: all


Figures = Mapping[str, Any]  # plain JSON values


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Which run.

    Attributes:
        data: Of what.
        architecture: Which model.
        capacity: Of which size.
        regime: How it is trained.
        seed: Of people, canaries, weights and order.
        epsilon: Its price; None: no privacy.
        scale: How much of everything.
    """

    data: Data
    architecture: Architecture
    capacity: Capacity
    regime: Regime = "scratch"
    seed: int = 0
    epsilon: float | None = None
    scale: Scale = field(default_factory=Scale)

    @property
    def key(self) -> str:
        """The cell in one line, with what no cell may choose."""
        loop = private.FIXED if self.regime == "rounds" else regimes.FIXED[self.regime]
        fixed = {"window": worlds.WINDOW, "head": worlds.HEAD, "given": looks.GIVEN, **loop}
        return json.dumps(asdict(self) | fixed, sort_keys=True)

    @property
    def name(self) -> str:
        """The cell in a few words."""
        price = "" if self.epsilon is None else f", epsilon {self.epsilon:g}"
        return f"{self.data}, {self.architecture}, {self.capacity}, {self.regime}{price}, seed {self.seed}"

    @property
    def words(self) -> tuple[str, ...]:
        """What names its streams."""
        price = "none" if self.epsilon is None else f"{self.epsilon:g}"
        return self.data, self.architecture, self.capacity, self.regime, price


def run(cell: Cell) -> Figures:
    """Return what the cell's model shows after each epoch, and what it took."""
    began = time.process_time()
    root = Root.simulation(cell.seed, "memorization", *cell.words)
    world = placed(cell)
    looked: dict[str, Looked] = {}
    said: tuple[int, bool] | None = None
    for epoch, model in _trained(cell, world, root):
        looked[str(epoch)] = look(model, world, cell.scale.asked, root.stream("references").generator())
        if epoch == max(cell.scale.epochs) and isinstance(model, Causal):
            said = recited(model, world)
    return {
        "epochs": looked,
        "recited": said,
        **_reference(world, cell.scale.asked),
        "CPU seconds": round(time.process_time() - began, 1),
    }


def _trained(cell: Cell, world: World, root: Root) -> Iterator[tuple[int, Model]]:
    epochs = cell.scale.epochs
    if cell.regime == "rounds":
        return private.trained(cell.architecture, cell.capacity, cell.epsilon, world, epochs, root)
    options = CAPACITIES[cell.architecture][cell.capacity]
    return regimes.trained(cell.regime, options, world, epochs, root)


def placed(cell: Cell) -> World:
    """Return people and canaries, as many planted as the cell's regime says."""
    every = worlds.world(cell.data, cell.scale, cell.seed)
    rates = PLANTED.get(cell.regime)
    return every if rates is None else worlds.only(every, rates)


def _reference(world: World, asked: int) -> dict[str, list[float]]:
    """Return what a chain of public windows says of the people who are asked for, bits a base."""
    chain = markov.fit(world.public, worlds.ALPHABET.size, ORDER)
    return {
        f"{name} by the chain": [round(float(bits), 5) for bits in bits_of(chain, people.first(asked))]
        for name, people in (("members", world.members), ("others", world.others))
    }
