"""Weights of a model: drawn from a passed generator, read and written as one flat vector."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fedgenome.errors import require


def initialise(model: nn.Module, rng: np.random.Generator) -> None:
    """Draw the weights of every Linear layer, uniform within ±√(3 / inputs) (variance 1 / inputs); biases 0."""
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                limit = math.sqrt(3 / layer.in_features)
                drawn = rng.uniform(-limit, limit, tuple(layer.weight.shape)).astype(np.float32)
                layer.weight.copy_(torch.from_numpy(drawn))
                if layer.bias is not None:
                    layer.bias.zero_()


def flatten(model: nn.Module) -> npt.NDArray[np.float32]:
    """Return a copy of all parameters, (P,) float32, in the order of ``model.parameters()``."""
    with torch.no_grad():
        flat: npt.NDArray[np.float32] = torch.cat([p.reshape(-1) for p in model.parameters()]).float().numpy()
    return flat


def load_flat(model: nn.Module, flat: npt.NDArray[Any]) -> None:
    """Set all parameters from ``flat``, the inverse of :func:`flatten`.

    Raises:
        SpecError: ``flat`` has another length.
    """
    expected = sum(p.numel() for p in model.parameters())
    require(flat.shape == (expected,), "one number a parameter", parameters=expected, shape=flat.shape)
    vector, start = torch.from_numpy(np.array(flat, dtype=np.float32)), 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(vector[start : start + parameter.numel()].view(parameter.shape))
            start += parameter.numel()
