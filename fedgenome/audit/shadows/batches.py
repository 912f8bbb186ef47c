"""Batches of many models at once: which rows each takes at a step, and with what weight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.query import Array

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]  # rows and weights, (models, most rows of any)


def batches(rows: Sequence[Array], recipe: Recipe, rngs: Sequence[np.random.Generator]) -> Iterator[Batch]:
    """Yield ``recipe.steps`` batches. A model's depend on its own rows and generator alone.

    Under Poisson sampling batches differ in length: a short one is filled with rows of weight 0.

    Args:
        rows: Indices of the rows that each model is trained on, int (any number,), per model.
        recipe: Says how they are drawn.
        rngs: One a model.
    """
    draw = _poisson if recipe.sampling == "poisson" else _shuffled
    streams = [draw(own, recipe.batch, rng) for own, rng in zip(rows, rngs, strict=True)]
    for _ in range(recipe.steps):
        drawn = [next(stream) for stream in streams]
        most = max(1, *map(len, drawn))
        index = np.zeros((len(drawn), most), np.int64)
        weight = np.zeros((len(drawn), most), np.float32)
        for k, own in enumerate(drawn):
            index[k, : len(own)], weight[k, : len(own)] = own, 1
        yield index, weight


def _shuffled(rows: Array, size: int, rng: np.random.Generator) -> Iterator[Array]:
    left = rng.permutation(rows)
    while True:
        while len(left) < size:
            left = np.concatenate([left, rng.permutation(rows)])
        yield left[:size]
        left = left[size:]


def _poisson(rows: Array, expected: int, rng: np.random.Generator) -> Iterator[Array]:
    while True:
        yield rows[rng.random(len(rows)) < expected / len(rows)]
