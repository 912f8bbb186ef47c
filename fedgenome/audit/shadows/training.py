"""Train many classifiers at once: a target's shadows, each on its own people, or the target itself.

Models train in chunks, one batched product for all of a chunk. What a model becomes depends on its rows and its own
generator, not on who shares its chunk, up to rounding.

No more threads are used than the process has (:mod:`fedgenome.threads`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedgenome.audit.shadows.descent import descend
from fedgenome.audit.shadows.perceptrons import Perceptrons, start
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.errors import require
from fedgenome.query import Array

CHUNK = 16  # models at once: more share no more of the cost of a step, and leave the cache
_ROWS = 1024  # rows held at a time, of a chunk's answers or in float64
_ROUNDING = 1e-12


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
            parts = [self._logits(part) for part in torch.split(rows, _ROWS)]
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
    centre, spread = _scalers(x, inside, recipe)
    models = start((x.shape[1], *recipe.hidden, classes), recipe.activation, rngs)
    gain = 1 / spread

    def take(at: Tensor, _weight: Array) -> tuple[Tensor, ...]:
        here = x[at]
        if recipe.scale == "own":
            here.sub_(centre).mul_(gain)
        return here, label[at]

    descend(models, take, rows, recipe, rngs)
    return Ensemble(models=models, centre=centre, spread=spread)


def _scalers(x: Tensor, inside: Array, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return each model's centre and spread, (K, 1, inputs), of its own rows; what never varies is divided by 1.

    Sums for all models are matrix products, in float64 about the middle of all rows, which keeps their digits and
    falls out again. A variance below 1e-12 of the squares it is made of is rounding.
    """
    if recipe.scale == "none":
        return torch.zeros(len(inside), 1, x.shape[1]), torch.ones(len(inside), 1, x.shape[1])
    middle = x.mean(0, dtype=torch.float64)
    averaging = torch.from_numpy(inside / inside.sum(1, keepdims=True))
    mean, square = torch.zeros(len(inside), x.shape[1], dtype=torch.float64), middle.new_zeros(1)
    for rows, part in zip(torch.split(x, _ROWS), torch.split(averaging, _ROWS, 1), strict=True):
        about = rows - middle
        mean += part @ about
        square = square + part @ about.square_()
    variance = square - mean.square()
    spread = torch.where(variance > _ROUNDING * square, variance, 1.0).sqrt()
    return (mean + middle)[:, None].float(), spread[:, None].float()
