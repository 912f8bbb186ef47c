"""A model's parameters: made without a global generator, drawn by one that is passed, as one vector and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from fedgenome.errors import require

_Layer = TypeVar("_Layer", bound=nn.Module)


def blank(layer: _Layer) -> _Layer:
    """Return a layer that was made on ``meta``, where nothing is drawn, with zeros for parameters."""
    layer.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Return a Linear layer of zeros."""
    return blank(nn.Linear(inputs, outputs, bias=bias, device="meta"))


def initialise(model: nn.Module, rng: np.random.Generator) -> None:
    """Draw the weights of every layer, in the order of ``model.modules()``.

    Linear, Conv1d and LSTM: uniform within ±√(3 / inputs) (variance 1 / inputs), biases 0, of an LSTM's forget gate 1.
    Embedding: standard normals. LayerNorm: 1, biases 0.
    """
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d):
                _draw(layer.weight, rng)
                if layer.bias is not None:
                    layer.bias.zero_()
            elif isinstance(layer, nn.Embedding):
                _fill(layer.weight, rng.standard_normal(tuple(layer.weight.shape)))
            elif isinstance(layer, nn.LayerNorm):
                layer.weight.fill_(1)
                layer.bias.zero_()
            elif isinstance(layer, nn.LSTM):
                _draw_lstm(layer, rng)


def _draw_lstm(layer: nn.LSTM, rng: np.random.Generator) -> None:
    for name, parameter in layer.named_parameters():
        if "weight" in name:
            _draw(parameter, rng)
        else:
            parameter.zero_()
            if "ih" in name:
                parameter[layer.hidden_size : 2 * layer.hidden_size] = 1  # it forgets little at first


def _draw(weight: Tensor, rng: np.random.Generator) -> None:
    limit = math.sqrt(3 / math.prod(weight.shape[1:]))
    _fill(weight, rng.uniform(-limit, limit, tuple(weight.shape)))


def _fill(weight: Tensor, drawn: npt.NDArray[np.float64]) -> None:
    weight.copy_(torch.from_numpy(drawn.astype(np.float32)))


def flatten(model: nn.Module) -> npt.NDArray[np.float32]:
    """Return a copy of all parameters, (P,) float32, in the order of ``model.parameters()``."""
    return joined(model.parameters())


def joined(tensors: Iterable[Tensor]) -> npt.NDArray[np.float32]:
    """Return a copy of all tensors one after the other, float32."""
    flat: npt.NDArray[np.float32] = torch.cat([each.detach().reshape(-1) for each in tensors]).float().numpy()
    return flat


def load_flat(model: nn.Module, flat: npt.NDArray[Any]) -> None:
    """Set all parameters from ``flat``, the inverse of :func:`flatten`.

    Raises:
        SpecError: ``flat`` has another length.
    """
    divide(flat, list(model.parameters()))


def divide(flat: npt.NDArray[Any], tensors: Sequence[Tensor]) -> None:
    """Set all tensors from ``flat``, the inverse of :func:`joined`.

    Raises:
        SpecError: ``flat`` has another length.
    """
    expected = sum(each.numel() for each in tensors)
    require(flat.shape == (expected,), "one number a parameter", parameters=expected, shape=flat.shape)
    start = 0
    for each in tensors:
        # NumPy copies from what is read-only as well, as a payload is; torch would want a copy of that first.
        np.copyto(each.detach().numpy(), flat[start : start + each.numel()].reshape(each.shape), casting="unsafe")
        start += each.numel()
