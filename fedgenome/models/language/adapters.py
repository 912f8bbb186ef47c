"""Fine-tuning of few numbers: low-rank adapters beside frozen layers (LoRA: Hu et al. 2022).

What is frozen is no parameter any more, so that flattening, clipping and noise see the adapters alone. An adapter is
two Linear layers of its own, for which clipping has its closed form. (Full fine-tuning is more training of a copy.)

Within an LSTM the weights of inputs and states are one kernel's, where no Linear layer fits beside them. Its adapters
therefore sit before each layer: x + B A x there is a change of low rank to the weights of its inputs, W (1 + B A) x.
The weights of its states, W h, cannot be adapted. Neither are embeddings, norms, and the
taps of convolutions.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fedgenome.errors import require
from fedgenome.models.parameters import initialise, linear

_Model = TypeVar("_Model", bound=nn.Module)


class Adapter(nn.Module):
    """y(x) + up(down(x)) beside a frozen layer y; up is zero at first.

    Args:
        beside: The frozen layer.
        inputs: Its inputs.
        outputs: Its outputs.
        rank: Between both; no more than either.
    """

    def __init__(self, beside: nn.Module, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        rank = min(rank, inputs, outputs)
        self.beside = beside
        self.down = linear(inputs, rank, bias=False)
        self.up = linear(rank, outputs, bias=False)

    @property
    def low(self) -> Tensor:
        """What is added to the layer's weights, (outputs, inputs) of rank at most ``rank``."""
        return self.up.weight @ self.down.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer makes of x, and what was learned since."""
        y: Tensor = self.beside(x) + self.up(self.down(x))
        return y


class _Entered(nn.Module):
    """An LSTM behind an adapter of its inputs."""

    def __init__(self, lstm: nn.LSTM, rank: int) -> None:
        super().__init__()
        self.enter = Adapter(nn.Identity(), lstm.input_size, lstm.input_size, rank)
        self.lstm = lstm

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        found: tuple[Tensor, tuple[Tensor, Tensor]] = self.lstm(self.enter(x), state)
        return found


def adapt(base: _Model, rank: int, rng: np.random.Generator) -> _Model:
    """Return a copy of ``base`` that says the same, and of which adapters alone are trained.

    Args:
        base: Left as it is.
        rank: Of every adapter, or fewer where a layer is narrower.
        rng: Draws the adapters' first layers.

    Raises:
        SpecError: No rank, or a model without a layer to adapt.
    """
    require(rank >= 1, "rank >= 1", rank=rank)
    model = copy.deepcopy(base)
    _freeze(model)
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(parent, name, Adapter(layer, layer.in_features, layer.out_features, rank))
            elif isinstance(layer, nn.LSTM):
                setattr(parent, name, _Entered(layer, rank))
    require(any(isinstance(each, Adapter) for each in model.modules()), "a layer to adapt", model=type(base).__name__)
    restart(model, rng)
    return model


def restart(model: nn.Module, rng: np.random.Generator) -> None:
    """Set all adapters to the start: their first layers drawn, their second ones zero."""
    for module in model.modules():
        if isinstance(module, Adapter):
            initialise(module.down, rng)
            nn.init.zeros_(module.up.weight)


def frozen(model: nn.Module, base: nn.Module) -> list[Tensor]:
    """Return what an adapted model holds of its base's parameters, in the order of ``base.parameters()``."""
    held = {_plain(name): kept for name, kept in model.named_buffers()}
    return [held[name] for name, _ in base.named_parameters()]


def merge(model: nn.Module, base: nn.Module) -> None:
    """Set ``base``, a model without adapters, to what an adapted one of its shape says."""
    with torch.no_grad():
        for parameter, kept in zip(base.parameters(), frozen(model, base), strict=True):
            parameter.copy_(kept)
        for name, module in model.named_modules():
            if isinstance(module, _Entered):
                weight = base.get_submodule(_plain(name)).get_parameter("weight_ih_l0")
                weight.add_(weight @ module.enter.low)
            elif isinstance(module, Adapter) and isinstance(module.beside, nn.Linear):
                base.get_submodule(_plain(name)).get_parameter("weight").add_(module.low)


def _plain(name: str) -> str:
    """Return the name that a frozen layer's tensor, or an adapted layer, has in the base."""
    return name.replace(".beside", "").replace(".lstm", "")


def _freeze(model: nn.Module) -> None:
    """Make buffers of all parameters: the same tensors, so that an LSTM's kernel finds its own."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.requires_grad_(False))
