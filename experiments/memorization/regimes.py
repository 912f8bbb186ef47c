"""How a model is trained: from nothing, from a public base, or at five sites; shown after chosen epochs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch

from experiments.memorization import worlds
from experiments.memorization.worlds import World
from fedgenome.audit.language.canaries import dealt
from fedgenome.audit.language.steps import as_tensor
from fedgenome.models.language import adapters, training
from fedgenome.models.language.base import Causal
from fedgenome.models.language.sizes import Model, Options, build
from fedgenome.models.parameters import flatten, initialise, load_flat
from fedgenome.query import Array
from fedgenome.streams import Root

# From nothing, all rates at once; from nothing, one rate alone, or none; from a public base, all weights or adapters;
# at five sites.
Plain = Literal["scratch", "one rate", "nothing planted", "full", "adapters", "sites"]

HIDDEN = 0.25  # of a masked model's positions, in training
_BATCH, _RATE = 32, 3e-3
_BASE_EPOCHS, _RANK, _SITES = 8, 4, 5
_LOOP: Mapping[str, Any] = {"batch": _BATCH, "rate": _RATE, "hidden": HIDDEN}
_TUNED = {**_LOOP, "base epochs": _BASE_EPOCHS}

# What a result depends on beside the cell: it is part of the cell's key.
FIXED: Mapping[Plain, Mapping[str, Any]] = MappingProxyType(
    {
        "scratch": _LOOP,
        "one rate": _LOOP,
        "nothing planted": _LOOP,
        "full": _TUNED,
        "adapters": {**_TUNED, "rank": _RANK},
        "sites": {**_LOOP, "sites": _SITES},
    }
)


def trained(
    regime: Plain, options: Options, world: World, epochs: Sequence[int], root: Root
) -> Iterator[tuple[int, Model]]:
    """Yield the model after each of ``epochs``; it is trained on when the next is asked for.

    Args:
        regime: How.
        options: Which model.
        world: On what.
        epochs: When, rising.
        root: Of weights and orders.
    """
    model = build(options, worlds.ALPHABET.size, worlds.WINDOW)
    initialise(model, root.stream("weights").generator())
    if regime == "sites":
        yield from _at_sites(model, world, epochs, root)
        return
    if regime in ("full", "adapters"):
        base = as_tensor(world.public)
        for _ in _loop(model, base, None, (_BASE_EPOCHS,), root.stream("base").generator()):
            pass
    if regime == "adapters":
        model = adapters.adapt(model, _RANK, root.stream("adapters").generator())
    tokens, repeats = data(world)
    for point in _loop(model, as_tensor(tokens), repeats, epochs, root.stream("order").generator()):
        yield point.epoch, model


def data(world: World) -> tuple[Array, Array]:
    """Return what is trained on: rows, int64 (rows, 48), and how often each comes, (rows,)."""
    added, repeats = world.planting.added
    rows = np.concatenate([world.members.rows, added])
    return rows, np.concatenate([np.ones(len(world.members.rows), np.int64), repeats])


def _loop(
    model: Model, tokens: torch.Tensor, repeats: Array | None, epochs: Sequence[int], rng: np.random.Generator
) -> Iterator[training.Checkpoint]:
    hidden = None if isinstance(model, Causal) else HIDDEN
    return training.train(
        model, tokens, epochs=epochs, batch=_BATCH, rate=_RATE, rng=rng, repeats=repeats, hidden=hidden
    )


def _at_sites(model: Model, world: World, epochs: Sequence[int], root: Root) -> Iterator[tuple[int, Model]]:
    """Average what each site makes of the model in an epoch of its own, weighted by rows (McMahan et al. 2017).

    All copies of a canary are at one site, all rows of a donor too.
    """
    parts = shards(world, root.stream("sites").generator())
    orders = [root.stream("order", site).generator() for site in range(len(parts))]
    sizes = np.array([float(repeats.sum()) for _, repeats in parts])
    for epoch in range(1, max(epochs) + 1):
        weights = []
        for (rows, repeats), rng in zip(parts, orders, strict=True):
            local = copy.deepcopy(model)
            for _ in _loop(local, as_tensor(rows), repeats, (1,), rng):
                pass
            weights.append(flatten(local))
        load_flat(model, np.average(np.stack(weights), axis=0, weights=sizes).astype(np.float32))
        if epoch in epochs:
            yield epoch, model


def shards(world: World, rng: np.random.Generator) -> list[tuple[Array, Array]]:
    """Return each site's rows, and how often each comes."""
    home = rng.integers(0, _SITES, int(world.members.donor.max()) + 1)[world.members.donor]
    placed = dealt(world.canaries, _SITES, rng)
    out = []
    for site in range(_SITES):
        here = (placed.site == site) & (placed.repeats > 0)
        mine = world.members.rows[home == site]
        repeats = np.concatenate([np.ones(len(mine), np.int64), placed.repeats[here]])
        out.append((np.concatenate([mine, world.planting.rows[here]]), repeats))
    return out
