"""The same models trained in rounds of clipped sums, as by one trusted server: with a price, or without noise.

Each copy of a canary is a donor of its own, as each window of random letters is: a guarantee of ε for one donor is one
of 64 ε for a canary of 64 copies. Those of one copy, some of them planted by coins, test ε itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import central
from experiments.memorization import worlds
from experiments.memorization.regimes import HIDDEN, data
from experiments.memorization.worlds import World
from experiments.synthesis import loop
from experiments.synthesis.loop import Facts, Kind
from fedgenome.cohort.shard import Shard
from fedgenome.cohort.tokens import positions
from fedgenome.errors import SpecError
from fedgenome.methods.language import Language
from fedgenome.models.language.sizes import Architecture, Capacity, Model
from fedgenome.models.parameters import load_flat
from fedgenome.streams import Root
from fedgenome.study import Schema, Vocabulary

DELTA = 1e-5
BOUND = 2500  # public bound on donors
_SAMPLING = 0.1  # so many rounds are an epoch
_UNNOISED = 1e-9  # noise multiplier without a price: the same samples and clipping, noise that nobody sees
_OPTIONS: Mapping[str, Any] = {"sampling": _SAMPLING, "clip": 1.0, "rate": 0.01, "hidden": HIDDEN}
FIXED: Mapping[str, Any] = {**_OPTIONS, "delta": DELTA, "bound": BOUND, "unnoised": _UNNOISED}


def trained(
    architecture: Architecture,
    capacity: Capacity,
    epsilon: float | None,
    world: World,
    epochs: Sequence[int],
    root: Root,
) -> Iterator[tuple[int, Model]]:
    """Yield the model after each of ``epochs``; an epoch is as many rounds as sample every donor once on average.

    Args:
        architecture: Which model.
        capacity: Of which size.
        epsilon: Its price; None: sampled and clipped alike, with next to no noise.
        world: On what.
        epochs: When, rising.
        root: Of coins, noise and weights.
    """
    rounds = [round(epoch / _SAMPLING) for epoch in epochs]
    options = {"architecture": architecture, "capacity": capacity, "rounds": rounds[-1], "kept": rounds, **_OPTIONS}
    genes = positions(worlds.WINDOW)
    high, letters = float(worlds.ALPHABET.size), Vocabulary(letters=worlds.ALPHABET.letters)
    schema = Schema(genes=genes, labels=("all",), high=high, unit="donor", tokens=letters)
    facts = Facts(schema=schema, donors_bound=BOUND, delta=DELTA, rows=0)
    kind = Kind(kind="language", options=options)
    made = loop.method(kind, facts, epsilon) if epsilon else loop.at(kind, facts, _UNNOISED)
    if not isinstance(made, Language):
        raise SpecError(f"methods.{made.name}: expected a language model")
    noise, start = (root.stream(what).generator() for what in ("noise", "weights"))
    arrays = central.trained(made, shard(world), root, noise, start)
    for epoch, weights in zip(epochs, arrays["kept"], strict=True):
        load_flat(made.model, weights)
        yield epoch, made.model


def shard(world: World) -> Shard:
    """Return all rows, each copy of a canary under a donor's name of its own."""
    rows, repeats = data(world)
    people = len(world.members.rows)
    copies = np.repeat(np.arange(people, len(rows)), repeats[people:])
    order = np.concatenate([np.arange(people), copies])
    last = int(world.members.donor.max()) + 1
    donor = np.concatenate([world.members.donor, last + np.arange(len(copies))])
    return Shard(
        x=rows[order].astype(np.float32),
        label=np.zeros(len(order), np.int64),
        donor=donor,
        donors=tuple(f"d{i}" for i in range(int(donor.max()) + 1)),
        mask=np.ones(len(order), np.bool_),
    )
