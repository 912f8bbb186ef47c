"""Many CVAEs of one shape trained at once, as :mod:`fedgenome.audit.shadows.training` trains classifiers.

The model and its loss are the released one's own: its Linear layers are swapped for stacks of them, and everything
else it does works on rows of many models as on rows of one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedgenome.audit.shadows.descent import descend
from fedgenome.audit.shadows.perceptrons import sums
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.audit.shadows.training import CHUNK
from fedgenome.errors import require
from fedgenome.models import cvae
from fedgenome.query import Array

_ROWS = 1024  # rows judged at a time

Make = Callable[[np.random.Generator], cvae.CVAE]  # a model with its first weights


class _Layers(nn.Module):
    """A Linear layer of each model: weight (K, outputs, inputs), bias (K, 1, outputs)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]), requires_grad=False)
        self.bias = nn.Parameter(torch.stack([layer.bias.detach()[None] for layer in layers]), requires_grad=False)
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return (K, rows, outputs), and note it beside what it was made of."""
        out = torch.baddbmm(self.bias, x, self.weight.transpose(1, 2))
        if torch.is_grad_enabled():
            out.requires_grad_()
            self.seen = x.detach(), out
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Autoencoders:
    """K autoencoders.

    Attributes:
        model: One whose layers are all of theirs.
        layers: These layers, each used once in the loss.
    """

    model: cvae.CVAE
    layers: tuple[_Layers, ...]

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Weights of all layers, then biases."""
        return (*(layer.weight for layer in self.layers), *(layer.bias for layer in self.layers))

    def gradients(self, batch: tuple[Tensor, ...], weight: Tensor, clip: float | None) -> list[Tensor]:
        """Return each model's weighted sum of its rows' gradients, as ``parameters`` are laid out.

        Args:
            batch: x (K, rows, genes), onehot (K, rows, labels), draws (K, rows, latent).
            weight: (K, rows), 0 for a row that fills up a short batch.
            clip: L2 bound of a row's gradient before it is weighted; None: as it is.
        """
        with torch.enable_grad():
            total = cvae.loss(self.model, batch).sum()
        seen = [layer.seen for layer in self.layers if layer.seen is not None]
        inputs, outputs = zip(*seen, strict=True)
        return sums(inputs, torch.autograd.grad(total, outputs), weight, clip)

    def losses(self, x: Array, onehot: Array, draws: Array) -> Array:
        """Return every model's loss of every row (minus its evidence bound), float32 (K, rows); inputs a row each."""
        rows = [torch.from_numpy(np.ascontiguousarray(each, np.float32)) for each in (x, onehot, draws)]
        parts = zip(*(torch.split(each, _ROWS) for each in rows), strict=True)
        models = len(self.layers[0].weight)
        with torch.no_grad():
            said = [cvae.loss(self.model, tuple(each.expand(models, -1, -1) for each in part)) for part in parts]
        return np.asarray(torch.cat(said, 1).numpy())


def stack(models: Sequence[cvae.CVAE]) -> Autoencoders:
    """Return models of one shape as one."""
    together: Any = copy.deepcopy(models[0])
    layers = []
    for name, _ in models[0].named_children():
        layers.append(_Layers([getattr(model, name) for model in models]))
        setattr(together, name, layers[-1])
    return Autoencoders(model=together, layers=tuple(layers))


def train(
    x: Array,
    onehot: Array,
    inside: Array,
    make: Make,
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    chunk: int = CHUNK,
) -> list[Autoencoders]:
    """Return models trained on the rows that ``inside`` gives each, a chunk an entry, in the order of ``inside``.

    Args:
        x: (rows, genes), scaled by public numbers.
        onehot: Labels, (rows, labels).
        inside: bool (models, rows).
        make: Gives a model its first weights.
        recipe: The target's; ``hidden`` and ``activation`` are perceptrons' and not read.
        rng: Its children, one a model, draw weights, batches, latents and noise.
        chunk: Models at once.

    Raises:
        SpecError: Shapes do not agree, a model is given no row, or the recipe scales rows.
    """
    shapes = {"x": x.shape, "onehot": onehot.shape, "inside": inside.shape}
    require(len(x) == len(onehot) == inside.shape[1], "rows, labels and a column of inside each", **shapes)
    require(bool(np.isfinite(x).all()), "finite rows")
    require(bool(inside.any(1).all()), "at least one row for every model")
    require(recipe.scale == "none", "scale = none: an autoencoder's rows are scaled by public numbers")
    rngs = rng.spawn(len(inside))
    rows = tuple(torch.from_numpy(np.ascontiguousarray(each, np.float32)) for each in (x, onehot))
    pieces = [slice(first, first + chunk) for first in range(0, len(inside), chunk)]
    return [_train(rows, inside[piece], make, recipe, rngs[piece]) for piece in pieces]


def _train(
    rows: tuple[Tensor, ...], inside: Array, make: Make, recipe: Recipe, rngs: Sequence[np.random.Generator]
) -> Autoencoders:
    models = stack([make(rng) for rng in rngs])
    latent = models.model.latent

    def take(at: Tensor, weight: Array) -> tuple[Tensor, ...]:
        # Only as many as a model has rows: with the filling, its stream would depend on its neighbours' batches.
        draws = np.zeros((*weight.shape, latent), np.float32)
        for own, used, rng in zip(draws, weight.astype(bool), rngs, strict=True):
            own[used] = rng.standard_normal((int(used.sum()), latent), np.float32)
        return *(each[at] for each in rows), torch.from_numpy(draws)

    descend(models, take, [np.flatnonzero(own) for own in inside], recipe, rngs)
    return models
