"""Which arms there are, in the order in which they are worth having."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from experiments.afml import arms
from experiments.afml.alternatives import ALTERNATIVES
from experiments.afml.cell import FEDERATED, GATE, Cell
from experiments.afml.demonstrations import ANEW, DEMONSTRATIONS
from experiments.afml.panels import FOLDS
from experiments.afml.paper import PAPER

PARTS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "baselines": tuple(arms.LISTS),
        "alternatives": tuple(ALTERNATIVES),
        "demonstrations": (*DEMONSTRATIONS, *ANEW),
        "gate": (GATE,),
        "federated": (FEDERATED,),
        "paper": tuple(PAPER),
        "learned": tuple(arms.LEARNED),
    }
)
QUICK = ("random", "association", "coarse scores", *DEMONSTRATIONS, arms.UNMASKED)


def cells(part: str) -> tuple[Cell, ...]:
    """Return a part's cells, seed by seed, so that what a killed run leaves is whole seeds."""
    if part == "quick":
        return tuple(Cell(arm=arm, seed=1, data="made") for arm in QUICK)
    return tuple(Cell(arm=arm, seed=seed) for seed in range(FOLDS) for arm in PARTS[part])
