"""Steps of many models at once, under plain or differentially private descent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fedgenome.audit.shadows.batches import batches
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.query import Array

Take = Callable[[Tensor, Array], tuple[Tensor, ...]]  # (rows (K, B), weights (K, B)) -> what models see of them


class Stack(Protocol):
    """K models of one shape."""

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """All of their parameters, models first."""

    def gradients(self, batch: tuple[Tensor, ...], weight: Tensor, clip: float | None) -> list[Tensor]:
        """Return each model's weighted sum of its rows' gradients, clipped row by row."""


def descend(
    models: Stack,
    take: Take,
    rows: Sequence[Array],
    recipe: Recipe,
    rngs: Sequence[np.random.Generator],
    after: Callable[[], None] | None = None,
) -> None:
    """Train ``models`` in place.

    Noise is floating-point noise: an audit's shadows imitate a mechanism and are never released, so they claim no ε.

    Args:
        models: With their first weights.
        take: Makes a batch.
        rows: Which rows each is trained on.
        recipe: How.
        rngs: One a model; draws batches and noise.
        after: Follows every step, such as a penalty's own.
    """
    noise = [torch.Generator().manual_seed(int(rng.integers(2**63))) for rng in rngs]
    optimiser = _optimiser(recipe, models.parameters)
    with torch.no_grad():
        for index, weight in batches(rows, recipe, rngs):
            # A shuffled batch is full, so that its mean is a sum over ``batch`` too.
            of_mean = torch.from_numpy(weight / np.float32(recipe.batch))
            found = models.gradients(take(torch.from_numpy(index), weight), of_mean, recipe.clip)
            for parameter, gradient in zip(models.parameters, found, strict=True):
                parameter.grad = _noised(gradient, recipe, noise)
            optimiser.step()
            if after is not None:
                after()


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
