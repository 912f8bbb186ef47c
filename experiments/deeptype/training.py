"""Many DeepTypes at once, with and without DP-SGD: batched products, gradients in closed form.

The classifier, its loss and its penalty are those of :mod:`fedgenome.models.deeptype`; centres are the public simplex.
Steps are those of an audit's shadows (:mod:`fedgenome.audit.shadows.descent`), noise is floating-point noise: a model
from here claims no ε of its own, it is what one that does claim it would be like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedgenome.audit.shadows import perceptrons
from fedgenome.audit.shadows.descent import descend
from fedgenome.audit.shadows.perceptrons import Perceptrons
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.audit.shadows.training import CHUNK, Ensemble
from fedgenome.errors import require
from fedgenome.methods.deeptype import Options
from fedgenome.models import deeptype

PUBLISHED = Options()  # 1,024 and 512 units, pull 1.2, ℓ2,1 weight .006, half of the steps joint
HIDDEN = (256, 128)  # a quarter of the published units, where hundreds of models are trained
Rows = npt.NDArray[np.float32]


@dataclass(slots=True, kw_only=True, eq=False)
class DeepTypes:
    """K of them.

    Attributes:
        layers: Their weights.
        centres: Of the classes, (classes, units).
        steps: In all; the last half pull hidden layers to centres.
        rate: Adam's learning rate, by which the penalty's steps are scaled.
        done: Steps that are over.
    """

    layers: Perceptrons
    centres: Tensor
    steps: int
    rate: float
    done: int = field(default=0, init=False)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Weights of all layers, then biases."""
        return self.layers.parameters

    @property
    def _switch(self) -> int:
        return self.steps - round(PUBLISHED.joint * self.steps)

    def gradients(self, batch: tuple[Tensor, ...], weight: Tensor, clip: float | None) -> list[Tensor]:
        """Return each model's weighted sum of its rows' gradients, clipped row by row; as ``Perceptrons.gradients``."""
        x, label = batch
        *inputs, logits = self.layers.layers(x)
        top = torch.softmax(logits, 2)
        top.scatter_add_(2, label[..., None], top.new_full((*label.shape, 1), -1.0))
        hidden = inputs[-1]
        above = torch.bmm(top, self.layers.weights[2])
        if self.done >= self._switch:
            above += 2 * PUBLISHED.pull * (hidden - self.centres[label])
        second = above * hidden * (1 - hidden)
        first = torch.bmm(second, self.layers.weights[1]) * inputs[1] * (1 - inputs[1])
        return perceptrons.sums(inputs, (first, second, top), weight, clip)

    def penalised(self) -> None:
        """Count a step, and take the penalty's: its weight grows over the supervised phase."""
        self.done += 1
        by = self.rate * PUBLISHED.sparsity * min(1.0, self.done / max(1, self._switch))
        for first in self.layers.weights[0]:
            deeptype.shrink(first.numpy(), by)


def train(
    x: Rows,
    label: npt.NDArray[np.int64],
    inside: npt.NDArray[np.bool_],
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    classes: int,
    chunk: int = CHUNK,
) -> list[Ensemble]:
    """Return models trained on the rows that ``inside`` gives each, a chunk an entry.

    Args:
        x: (rows, genes), or (models, rows, genes) where each model sees the rows its own way.
        label: Class of each row, int64 (rows,).
        inside: bool (models, rows).
        recipe: With two hidden layers of sigmoids.
        rng: Its children, one a model, draw weights, batches and noise.
        classes: How many there are.
        chunk: Models at once.

    Raises:
        SpecError: another shape of network.
    """
    require(len(recipe.hidden) == 2 and recipe.activation == "sigmoid", "two hidden layers of sigmoids")
    rngs = rng.spawn(len(inside))
    pieces = [slice(first, first + chunk) for first in range(0, len(inside), chunk)]
    return [
        _train(x if x.ndim == 2 else x[piece], label, inside[piece], recipe, rngs[piece], classes) for piece in pieces
    ]


def _train(
    x: Rows,
    label: npt.NDArray[np.int64],
    inside: npt.NDArray[np.bool_],
    recipe: Recipe,
    rngs: Sequence[np.random.Generator],
    classes: int,
) -> Ensemble:
    every, labels, which = torch.from_numpy(x), torch.from_numpy(label), torch.arange(len(inside))[:, None]
    centre, spread = _scalers(x, inside, recipe)
    gain = 1 / spread
    layers = perceptrons.start((x.shape[-1], *recipe.hidden, classes), "sigmoid", rngs)
    centres = torch.from_numpy(deeptype.simplex(classes, recipe.hidden[1]))
    models = DeepTypes(layers=layers, centres=centres, steps=recipe.steps, rate=recipe.rate)

    def take(at: Tensor, _weight: npt.NDArray[np.float32]) -> tuple[Tensor, ...]:
        here = every[at] if every.ndim == 2 else every[which, at]
        return here.sub_(centre).mul_(gain), labels[at]

    descend(models, take, [np.flatnonzero(own) for own in inside], recipe, rngs, models.penalised)
    return Ensemble(models=models.layers, centre=centre, spread=spread)


def _scalers(x: Rows, inside: npt.NDArray[np.bool_], recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Return each model's centre and spread, (K, 1, genes): of its own rows, or the middle of the range."""
    if recipe.scale == "none":
        return torch.full((len(inside), 1, x.shape[-1]), 0.5), torch.full((len(inside), 1, x.shape[-1]), 0.5)
    seen = [(x if x.ndim == 2 else x[k])[own] for k, own in enumerate(inside)]
    centre, spread = (np.stack([getattr(rows, by)(0, keepdims=True) for rows in seen]) for by in ("mean", "std"))
    return torch.from_numpy(centre), torch.from_numpy(np.where(spread > 0, spread, np.float32(1)))
