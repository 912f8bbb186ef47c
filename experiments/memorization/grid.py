"""Which runs there are, in the order in which they are worth having, and what each costs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from experiments.memorization.cell import Cell, Regime
from experiments.memorization.worlds import Data, Scale
from fedgenome.models.language.sizes import Architecture, Capacity

ARCHITECTURES: tuple[Architecture, ...] = ("lstm", "transformer", "state-space", "masked")
BOTH: tuple[Data, ...] = ("random", "mtDNA")
SEEDS = (0, 1, 2)
PRICES = (None, 1.0, 3.0, 10.0)
ROUNDS = Scale(rates=(1, 64), each=16, coins=128)
QUICK = Scale(rows=100, rates=(1, 64), each=4, controls=64, asked=50, epochs=(2, 20))


def _cells(
    data: Sequence[Data],
    capacity: Capacity,
    regimes: Sequence[Regime],
    architectures: Sequence[Architecture] = ARCHITECTURES,
) -> tuple[Cell, ...]:
    """Return cells, seed by seed, so that what a killed run leaves is whole seeds."""
    return tuple(
        Cell(data=of, architecture=architecture, capacity=capacity, regime=regime, seed=seed)
        for seed, of, regime, architecture in itertools.product(SEEDS, data, regimes, architectures)
    )


def _priced() -> tuple[Cell, ...]:
    every = itertools.product(SEEDS, ARCHITECTURES, PRICES)
    return tuple(
        Cell(
            data="random",
            architecture=architecture,
            capacity="small",
            regime="rounds",
            seed=seed,
            epsilon=epsilon,
            scale=ROUNDS,
        )
        for seed, architecture, epsilon in every
    )


PARTS: Mapping[str, tuple[Cell, ...]] = MappingProxyType(
    {
        "small": _cells(BOTH, "small", ("scratch",)),
        "controls": _cells(("random",), "small", ("one rate", "nothing planted")),
        "rounds": _priced(),
        "tuned": _cells(("mtDNA",), "small", ("full", "adapters")),
        "medium": _cells(BOTH, "medium", ("scratch",)),
        "sites": _cells(BOTH, "small", ("sites",)),
        "convolution": _cells(BOTH, "small", ("scratch",), ("convolution",)),
        "large": _cells(BOTH, "large", ("scratch",)),
    }
)
QUICKLY = tuple(
    Cell(data="random", architecture=architecture, capacity="small", scale=QUICK) for architecture in ARCHITECTURES
)
EVERY: Mapping[str, tuple[Cell, ...]] = MappingProxyType({**PARTS, "quick": QUICKLY})
