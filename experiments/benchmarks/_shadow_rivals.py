"""What ``shadow_models`` is compared with: the same models, one after another, from the same weights and batches.

Plain training is torch's layers, tape and ``torch.optim.Adam(fused=True)``; under DP-SGD it is Opacus.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.audit.shadows.batches import batches
from fedgenome.audit.shadows.perceptrons import start
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.models import cvae, parameters
from fedgenome.query import Array

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Opacus warns when imported
    from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping

CLASSES, LATENT, HIDDEN = 5, 8, 64

Step = Callable[[Tensor, Tensor], object]
Make = Callable[[nn.Module, Recipe, int], Step]  # of the model, its recipe and a seed for noise


def classifiers(make: Make, x: Array, label: Array, recipe: Recipe, inside: Array) -> Array:
    """Train a classifier after another; return their logits of everybody, (models, people, classes)."""
    rows, labels = torch.from_numpy(x), torch.from_numpy(label)
    rngs = np.random.default_rng(1).spawn(len(inside))
    return np.stack([_classifier(make, recipe, rows, labels, *each) for each in zip(inside, rngs, strict=True)])


def _classifier(make: Make, recipe: Recipe, x: Tensor, label: Tensor, own: Array, rng: np.random.Generator) -> Array:
    rows = np.flatnonzero(own)
    mine = x[torch.from_numpy(rows)]
    scaled = (x - mine.mean(0)) / mine.std(0, correction=0)
    model = _module(x.shape[1], recipe, rng)
    step = make(model, recipe, int(rng.integers(2**63)))
    for index, weight in batches([rows], recipe, [rng]):
        at = torch.from_numpy(index[0][weight[0] > 0])
        step(scaled[at], label[at])
    with torch.no_grad():
        said: Array = model(scaled).numpy()
    return said


def _module(genes: int, recipe: Recipe, rng: np.random.Generator) -> nn.Module:
    drawn = start((genes, *recipe.hidden, CLASSES), recipe.activation, [rng])
    layers = [nn.Linear(w.shape[2], w.shape[1], device="meta") for w in drawn.weights]  # on meta nothing is drawn
    for layer, weight, bias in zip(layers, drawn.weights, drawn.biases, strict=True):
        layer.weight, layer.bias = nn.Parameter(weight[0]), nn.Parameter(bias[0, 0])
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])


def _adam(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=recipe.rate, fused=True)


def plain(model: nn.Module, recipe: Recipe, _seed: int) -> Step:
    """Return a step of torch's tape."""
    optimiser = _adam(model, recipe)

    def step(x: Tensor, label: Tensor) -> None:
        optimiser.zero_grad()
        functional.cross_entropy(model(x), label).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def _private(kind: type[Any], model: nn.Module, recipe: Recipe, seed: int) -> Any:
    return kind(
        _adam(model, recipe),
        noise_multiplier=recipe.noise,
        max_grad_norm=recipe.clip,
        expected_batch_size=recipe.batch,
        generator=torch.Generator().manual_seed(seed),
    )


def hooks(model: nn.Module, recipe: Recipe, seed: int) -> Step:
    """Return a step of Opacus' gradients a row."""
    wrapped = GradSampleModule(model)
    optimiser = _private(DPOptimizer, model, recipe, seed)

    def step(x: Tensor, label: Tensor) -> None:
        optimiser.zero_grad()
        functional.cross_entropy(wrapped(x), label).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def ghost(model: nn.Module, recipe: Recipe, seed: int) -> Step:
    """Return a step of Opacus' ghost clipping: norms in a first backward, the weighted sum in a second."""
    wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=recipe.clip)
    optimiser = _private(DPOptimizerFastGradientClipping, model, recipe, seed)

    def step(x: Tensor, label: Tensor) -> None:
        optimiser.zero_grad()
        losses = functional.cross_entropy(wrapped(x), label, reduction="none")
        losses.mean().backward(retain_graph=True)  # type: ignore[no-untyped-call]
        optimiser.zero_grad()
        weights = wrapped.get_clipping_coef()
        wrapped.disable_hooks()
        (weights * losses).sum().backward()
        wrapped.enable_hooks()
        optimiser.step()

    return step


def autoencoders(x: Array, label: Array, recipe: Recipe, inside: Array) -> Array:
    """Train a CVAE after another; return their losses of everybody, (models, people)."""
    rows, onehot = torch.from_numpy(x), functional.one_hot(torch.from_numpy(label), CLASSES).float()
    rngs = np.random.default_rng(1).spawn(len(inside))
    return np.stack([_autoencoder(recipe, rows, onehot, *each) for each in zip(inside, rngs, strict=True)])


def new_autoencoder(genes: int, rng: np.random.Generator) -> cvae.CVAE:
    """Return a CVAE with random weights."""
    model = cvae.CVAE(genes, CLASSES, HIDDEN, LATENT)
    parameters.initialise(model, rng)
    return model


def _autoencoder(recipe: Recipe, x: Tensor, onehot: Tensor, own: Array, rng: np.random.Generator) -> Array:
    model = new_autoencoder(x.shape[1], rng)
    rng.integers(2**63)  # the noise's
    optimiser = _adam(model, recipe)
    for index, _ in batches([np.flatnonzero(own)], recipe, [rng]):
        at = torch.from_numpy(index[0])
        draws = torch.from_numpy(rng.standard_normal((len(at), LATENT), np.float32))
        optimiser.zero_grad()
        cvae.loss(model, (x[at], onehot[at], draws)).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        said: Array = cvae.loss(model, (x, onehot, torch.zeros(len(x), LATENT))).numpy()
    return said
