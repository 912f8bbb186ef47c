"""What ``dp_sgd`` is compared with: plain SGD, Opacus in each of its modes, and torch.func.

Every maker returns a function that takes one step, without noise. Where Opacus wants another LSTM, it gets its own.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from experiments.benchmarks._dp_models import Case, Recurrent, seeded

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Opacus warns when imported
    from opacus.grad_sample import (
        GradSampleModule,
        GradSampleModuleExpandedWeights,
        GradSampleModuleFastGradientClipping,
    )
    from opacus.layers import DPLSTM
    from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping

Step = Callable[[], object]

RATE = 1e-6  # weights hardly move, so that every step costs the same
BOUND = 1.0


def plain(case: Case) -> Step:
    """Non-private SGD."""
    model = case.model()
    optimiser = torch.optim.SGD(model.parameters(), lr=RATE)

    def step() -> None:
        optimiser.zero_grad()
        case.loss(model, case.inputs).mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def _known(case: Case) -> nn.Module:
    model = case.model()
    return seeded(functools.partial(Recurrent, DPLSTM))() if isinstance(model, Recurrent) else model


class _Seen:
    """A model as a loss sees it: called in a rival's way, with the attributes it has anyway."""

    def __init__(self, model: nn.Module, call: Callable[..., Any]) -> None:
        self._model, self._call = model, call

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return self._call(*inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _optimiser(kind: type[Any], case: Case, model: nn.Module) -> Any:
    return kind(
        torch.optim.SGD(model.parameters(), lr=RATE),
        noise_multiplier=0.0,
        max_grad_norm=BOUND,
        expected_batch_size=len(case.inputs[0]),
        loss_reduction="sum",
    )


def _samples(case: Case, wrap: Callable[[nn.Module], Any]) -> Step:
    known = _known(case)
    model = wrap(known)
    seen = _Seen(known, model)
    optimiser = _optimiser(DPOptimizer, case, model)

    def step() -> None:
        optimiser.zero_grad()
        case.loss(seen, case.inputs).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def hooks(case: Case) -> Step:
    """Per-sample gradients by hooks."""
    return _samples(case, functools.partial(GradSampleModule, loss_reduction="sum"))


def functorch(case: Case) -> Step:
    """Per-sample gradients by hooks that call torch.func."""
    return _samples(case, functools.partial(GradSampleModule, loss_reduction="sum", force_functorch=True))


def expanded(case: Case) -> Step:
    """Per-sample gradients by torch's expanded weights."""
    return _samples(case, functools.partial(GradSampleModuleExpandedWeights, loss_reduction="sum"))


def ghost(case: Case) -> Step:
    """Ghost clipping: norms in a first backward, the weighted sum in a second."""
    known = _known(case)
    model = GradSampleModuleFastGradientClipping(known, loss_reduction="sum", max_grad_norm=BOUND)
    seen = _Seen(known, model)
    optimiser = _optimiser(DPOptimizerFastGradientClipping, case, model)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        losses = case.loss(seen, case.inputs)
        losses.sum().backward(retain_graph=True)  # type: ignore[no-untyped-call]
        optimiser.zero_grad(set_to_none=True)
        weights = model.get_clipping_coef()
        model.disable_hooks()
        (weights * losses).sum().backward()
        model.enable_hooks()
        optimiser.step()

    return step


def vmapped(case: Case) -> Step:
    """``torch.func.vmap(grad)``, clipped by hand."""
    model = _known(case)
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def one(weights: dict[str, torch.Tensor], *row: torch.Tensor) -> torch.Tensor:
        return case.loss(_Seen(model, lambda *x: functional_call(model, weights, x)), tuple(t[None] for t in row))[0]

    def step() -> None:
        samples = vmap(grad(one), in_dims=(None, *[0] * len(case.inputs)), randomness="different")(
            weights, *case.inputs
        )
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in samples.values()]).norm(dim=0)
        factors = (BOUND / norms).clamp(max=1)
        for name, g in samples.items():
            weights[name] -= RATE * torch.tensordot(factors, g, 1)

    return step


RIVALS: dict[str, Callable[[Case], Step]] = {
    "Opacus hooks": hooks,
    "Opacus ghost": ghost,
    "Opacus functorch": functorch,
    "Opacus ew": expanded,
    "torch.func vmap": vmapped,
}
