"""Train many classifiers at once: a target's shadows, each on its own people, or the target itself.

Models train in chunks, one batched product for all of a chunk. What a model becomes depends on its rows and its own
generator, not on who shares its chunk, up to rounding.

No more threads are used than the process has (:mod:`fedgenome.threads`). Noise is floating-point noise: an audit's
shadows imitate a mechanism and are never released, so they claim no ε.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedgenome.audit.shadows.batches import batches
from fedgenome.audit.shadows.perceptrons import Perceptrons, start
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.errors import require
from fedgenome.query import Array

CHUNK = 16  # models at once: more share no more of the cost of a step, and leave the cache
_ROWS = 1024  # rows of a chunk answered at a time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ensemble:
    """Trained models, each with the scaler it was trained behind.

    Attributes:
        models: Their weights.
        centre: What each takes off a row first, (K, 1, inputs).
        spread: What each divides by then, (K, 1, inputs).
    """

    models: Perceptrons
    centre: Tensor
    spread: Tensor

    def logits(self, x: Array) -> Array:
        """Return what every model says of every row, float32 (K, rows, classes)."""
        rows = torch.from_numpy(np.ascontiguousarray(x, np.float32))
        with torch.no_grad():
            parts = [self._logits(part) for part in rows.split(_ROWS)]
        return np.asarray(torch.cat(parts, 1).numpy())

    def _logits(self, rows: Tensor) -> Tensor:
        return self.models.layers((rows - self.centre) / self.spread)[-1]


def train(
    x: Array, label: Array, inside: Array, recipe: Recipe, rng: np.random.Generator, *, classes: int, chunk: int = CHUNK
) -> list[Ensemble]:
    """Return models trained on the rows that ``inside`` gives each, a chunk an entry, in the order of ``inside``.

    Args:
        x: (rows, inputs), finite.
        label: Class of each row, int (rows,).
        inside: bool (models, rows); a row for the target alone trains the target.
        recipe: The target's.
        rng: Its children, one a model, draw weights, batches and noise.
        classes: How many there are, also where some are in no row.
        chunk: Models at once.

    Raises:
        SpecError: Shapes do not agree, a value is not finite, or a model is given no row.
    """
    require(x.ndim == 2 and inside.ndim == 2, "x of (rows, inputs) and inside of (models, rows)")
    shapes = {"x": x.shape, "label": label.shape, "inside": inside.shape}
    require(len(x) == len(label) == inside.shape[1], "rows, a label each and a column of inside each", **shapes)
    require(bool(np.isfinite(x).all()), "finite rows")
    require(bool(((label >= 0) & (label < classes)).all()), f"labels in 0 … {classes - 1}")
    require(bool(inside.any(1).all()), "at least one row for every model")
    rngs, values = rng.spawn(len(inside)), torch.from_numpy(np.ascontiguousarray(x, np.float32))
    labels = torch.from_numpy(np.asarray(label, np.int64))
    pieces = [slice(first, first + chunk) for first in range(0, len(inside), chunk)]
    return [_train(values, labels, inside[piece], recipe, rngs[piece], classes) for piece in pieces]


def logits(ensembles: Sequence[Ensemble], x: Array) -> Array:
    """Return what all models of :func:`train` say of every row, float32 (models, rows, classes)."""
    return np.concatenate([ensemble.logits(x) for ensemble in ensembles])


def _train(
    x: Tensor, label: Tensor, inside: Array, recipe: Recipe, rngs: Sequence[np.random.Generator], classes: int
) -> Ensemble:
    rows = [np.flatnonzero(own) for own in inside]
    centre, spread = _scalers(x, rows, recipe)
    models = start((x.shape[1], *recipe.hidden, classes), recipe.activation, rngs)
    noise = [torch.Generator().manual_seed(int(rng.integers(2**63))) for rng in rngs]
    optimiser, gain = _optimiser(recipe, models.parameters), 1 / spread
    with torch.no_grad():
        for index, weight in batches(rows, recipe, rngs):
            at = torch.from_numpy(index)
            here = x[at]
            if recipe.scale == "own":
                here.sub_(centre).mul_(gain)
            # A shuffled batch is full, so that its mean is a sum over ``batch`` too.
            share = torch.from_numpy(weight / np.float32(recipe.batch))
            found = models.gradients(here, label[at], share, recipe.clip)
            for parameter, gradient in zip(models.parameters, found, strict=True):
                parameter.grad = _noised(gradient, recipe, noise)
            optimiser.step()
    return Ensemble(models=models, centre=centre, spread=spread)


def _scalers(x: Tensor, rows: Sequence[Array], recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return each model's centre and spread, of its own rows; a value that never varies is divided by 1."""
    if recipe.scale == "none":
        return torch.zeros(len(rows), 1, x.shape[1]), torch.ones(len(rows), 1, x.shape[1])
    centres, spreads = [], []
    for own in rows:
        mine = x[torch.from_numpy(own)].double()
        spread = mine.std(0, correction=0)
        centres.append(mine.mean(0, keepdim=True).float())
        spreads.append(torch.where(mine.min(0).values == mine.max(0).values, 1.0, spread)[None].float())
    return torch.stack(centres), torch.stack(spreads)


def _optimiser(recipe: Recipe, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    """Return one optimiser for all models: its steps are element by element, so that models do not mix."""
    trained = list(parameters)
    if recipe.optimiser == "adam":
        return torch.optim.Adam(trained, lr=recipe.rate, weight_decay=recipe.decay, fused=True)
    return torch.optim.SGD(trained, lr=recipe.rate, momentum=recipe.momentum, weight_decay=recipe.decay, fused=True)


def _noised(gradient: Tensor, recipe: Recipe, noise: Sequence[torch.Generator]) -> Tensor:
    if recipe.clip is None or recipe.noise == 0:
        return gradient
    deviation = recipe.noise * recipe.clip / recipe.batch
    for own, generator in zip(gradient, noise, strict=True):
        own.add_(torch.empty_like(own).normal_(0, deviation, generator=generator))
    return gradient
