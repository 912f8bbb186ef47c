"""What is released, arm by arm: lists of every length, made by rules or learned, and everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from experiments.afml import learned, lists
from experiments.afml.alternatives import ALTERNATIVES
from experiments.afml.demonstrations import ANEW, DEMONSTRATIONS
from experiments.afml.learned import Mask
from experiments.afml.paper import PAPER
from experiments.afml.worlds import Point, World, told
from fedgenome.query import Array

KEPT = (2, 3, 5, 7, 10, 20, 50, 100, 500, 2000, 5000)
UNMASKED, CAUSAL = "no masking", "causal variants"
Points = Iterator[tuple[str, Point]]  # what is asked of an arm (as how many variants), and what came of it


def of_order(at: World, name: str, order: Array) -> Points:
    """Yield the points of an order's lists."""
    for kept in KEPT:
        if kept < len(order):
            yield str(kept), told(at, at.panels.array, np.sort(order[:kept]), (name, str(kept)))


def baseline(name: str) -> Callable[[World], Points]:
    """Return the arm of one of :data:`experiments.afml.lists.ORDERS`."""

    def points(at: World) -> Points:
        yield from of_order(at, name, lists.ORDERS[name](at.people, at.rng("list", name)))

    return points


def regions(at: World) -> Points:
    """Yield lists outside the known regions, and all that is outside."""
    name = "known regions masked"
    order = lists.outside(at.people, at.rng("list", name))
    yield from of_order(at, name, order)
    outside = lists.n_outside(at.people)
    yield str(outside), told(at, at.panels.array, np.sort(order[:outside]), (name, "all"))


def unmasked(at: World) -> Points:
    """Yield everything told."""
    every = np.arange(at.panels.array.shape[1])
    yield str(len(every)), told(at, at.panels.array, every, (UNMASKED,))


def causal(at: World) -> Points:
    """Yield what nobody knows: the causal variants alone."""
    yield str(len(at.causal)), told(at, at.panels.array, at.causal, (CAUSAL,))


def mask(name: str, how: Mask) -> Callable[[World], Points]:
    """Return the arm of a learned mask."""

    def points(at: World) -> Points:
        yield from of_order(at, name, learned.order(at, how))

    return points


_ROUNDS = {"rounds": 30}
_GENTLE = {**_ROUNDS, "price": 0.1}
MASKS: Mapping[str, Mask] = {
    "learned for the phenotype": Mask(target="phenotype", options=_GENTLE),
    "learned for the phenotype, no adversary": Mask(target="phenotype", options={**_ROUNDS, "price": 0.0}),
    "learned for ancestry": Mask(target="ancestry", options=_GENTLE),
    "learned for the phenotype, epsilon 3": Mask(target="phenotype", options=_GENTLE, epsilon=3.0),
    "learned for ancestry, epsilon 3": Mask(target="ancestry", options=_GENTLE, epsilon=3.0),
}
LISTS: Mapping[str, Callable[[World], Points]] = {
    **{name: baseline(name) for name in lists.ORDERS},
    "known regions masked": regions,
    UNMASKED: unmasked,
    CAUSAL: causal,
}
LEARNED = {name: mask(name, how) for name, how in MASKS.items()}
ARMS = {**LISTS, **LEARNED, **ALTERNATIVES, **DEMONSTRATIONS, **ANEW, **PAPER}
