"""Many perceptrons of one shape as one: every layer a batched matrix product, gradients in closed form.

A model's part of each product is what the model alone would compute, so that models do not mix. Gradients are
written down rather than recorded: there is no tape, and a row's gradient has the norm √Σ ‖g‖²·(‖a‖² + 1) over
layers of input a and output gradient g, so that clipping costs no more than plain SGD (Goodfellow 2015).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedgenome.audit.shadows.recipe import Activation

# Each with its slope, as a function of what it returned.
_ACTIVATIONS: dict[Activation, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "relu": (torch.relu, lambda out: (out > 0).to(out.dtype)),
    "sigmoid": (torch.sigmoid, lambda out: out * (1 - out)),
    "tanh": (torch.tanh, lambda out: 1 - out * out),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perceptrons:
    """Weights of K models of one shape, float32.

    Attributes:
        weights: (K, outputs, inputs) a layer.
        biases: (K, 1, outputs) a layer.
        activation: Between layers.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: Activation

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """Weights of all layers, then biases."""
        return (*self.weights, *self.biases)

    def layers(self, x: Tensor) -> list[Tensor]:
        """Return the input of every layer and last the logits, (K, rows, ·) each, for rows (K, rows, inputs)."""
        bend = _ACTIVATIONS[self.activation][0]
        seen = [x]
        for depth, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            here = seen[-1] if depth == 0 else bend(seen[-1])
            seen[-1] = here
            seen.append(torch.baddbmm(bias, here, weight.transpose(1, 2)))
        return seen

    def gradients(self, batch: tuple[Tensor, ...], weight: Tensor, clip: float | None) -> list[Tensor]:
        """Return each model's weighted sum of its rows' cross-entropy gradients, as ``parameters`` are laid out.

        Args:
            batch: Rows (K, rows, inputs) and their labels (K, rows) int64.
            weight: (K, rows), 0 for a row that fills up a short batch.
            clip: L2 bound of a row's gradient before it is weighted; None: as it is.
        """
        x, label = batch
        *inputs, logits = self.layers(x)
        top = torch.softmax(logits, 2)
        top.scatter_add_(2, label[..., None], top.new_full((*label.shape, 1), -1.0))
        return sums(inputs, self._backward(inputs, top), weight, clip)

    def _backward(self, inputs: Sequence[Tensor], top: Tensor) -> list[Tensor]:
        """Return the gradients at every layer's output, first layer first."""
        slope = _ACTIVATIONS[self.activation][1]
        found = [top]
        for depth in range(len(inputs) - 1, 0, -1):
            found.append(torch.bmm(found[-1], self.weights[depth]) * slope(inputs[depth]))
        return found[::-1]


def sums(inputs: Sequence[Tensor], outputs: Sequence[Tensor], weight: Tensor, clip: float | None) -> list[Tensor]:
    """Return weighted sums of rows' gradients, of all layers' weights and then of their biases.

    Args:
        inputs: What went into each layer, (K, rows, inputs).
        outputs: Gradients of each row's loss at what came out, (K, rows, outputs).
        weight: (K, rows).
        clip: L2 bound of a row's gradient before it is weighted; None: as it is.
    """
    if clip is not None:
        squared = [_square(g) * (_square(a) + 1) for a, g in zip(inputs, outputs, strict=True)]
        weight = weight * (clip / torch.stack(squared).sum(0).sqrt().clamp(min=clip))
    scaled = [g * weight[..., None] for g in outputs]
    return [
        *(torch.bmm(g.transpose(1, 2), a) for a, g in zip(inputs, scaled, strict=True)),
        *(g.sum(1, keepdim=True) for g in scaled),
    ]


def _square(rows: Tensor) -> Tensor:
    squared: Tensor = torch.linalg.vector_norm(rows, dim=2).square()
    return squared


def start(widths: Sequence[int], activation: Activation, rngs: Sequence[np.random.Generator]) -> Perceptrons:
    """Return models with random weights, uniform within ±√(3 / inputs), and no bias; one generator a model."""
    shapes = [(outputs, inputs) for inputs, outputs in itertools.pairwise(widths)]
    drawn = [[_uniform(shape, rng) for shape in shapes] for rng in rngs]
    return Perceptrons(
        weights=tuple(torch.from_numpy(np.stack(layer)) for layer in zip(*drawn, strict=True)),
        biases=tuple(torch.zeros(len(rngs), 1, outputs) for outputs, _ in shapes),
        activation=activation,
    )


def _uniform(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    limit = math.sqrt(3 / shape[1])
    return rng.uniform(-limit, limit, shape).astype(np.float32)
