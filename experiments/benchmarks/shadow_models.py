"""Shadow models trained together, against the same models trained one after another.

A classifier of 200 genes, 64 hidden units and 5 classes on half of 800 people, Adam, one thread; every model has its
own people, scaler, weights and batches. A candidate is timed from people to trained models. Candidates take turns;
ratios are of medians of the clock.

- ``together``: :mod:`fedgenome.audit.shadows`, 16 models at once.
- ``one by one``: torch's layers and tape, ``torch.optim.Adam(fused=True)``, a model at a time, from the same weights
  and batches: its logits must be the same.
- Under DP-SGD: ``Opacus hooks`` and ``Opacus ghost``, a model at a time, with noise of multiplier 1, as ours.

A row of 958 genes is there for comparison and has no target: where products are large, little else can be saved.
Run: ``python -m experiments.benchmarks.shadow_models`` (``--quick``: 16 models of fewer steps).
"""

from __future__ import annotations

import functools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments import harness
from experiments.harness import Result, Target
from fedgenome.audit.shadows import draws, training
from fedgenome.audit.shadows.batches import batches
from fedgenome.audit.shadows.perceptrons import start
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.query import Array

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Opacus warns when imported
    from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping

PEOPLE, CLASSES = 800, 5
TOGETHER, ALONE = "together", "one by one"
AGREE = 1e-4

Trained = list[nn.Module]
Step = Callable[[Tensor, Tensor], object]
Make = Callable[[nn.Module, Recipe, int], Step]  # of the model, its recipe and a seed for noise


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What is trained.

    Attributes:
        name: In rows and targets.
        recipe: How.
        x: (people, genes).
        label: (people,).
        inside: bool (models, people).
        rivals: Who trains the same one by one.
        least: How many times as fast as the fastest rival together must be; None: no target.
    """

    name: str
    recipe: Recipe
    x: Array
    label: Array
    inside: Array
    rivals: dict[str, Make]
    least: float | None


def together(case: Case) -> list[training.Ensemble]:
    """Train all models as the library does."""
    rng = np.random.default_rng(1)
    return training.train(case.x, case.label, case.inside, case.recipe, rng, classes=CLASSES)


def one_by_one(make: Make, case: Case) -> Array:
    """Train all models one after another; return their logits of everybody, (models, people, classes)."""
    x, label = torch.from_numpy(case.x), torch.from_numpy(case.label)
    rngs = np.random.default_rng(1).spawn(len(case.inside))
    return np.stack([_alone(make, case.recipe, x, label, own, rng) for own, rng in zip(case.inside, rngs, strict=True)])


def _alone(make: Make, recipe: Recipe, x: Tensor, label: Tensor, own: Array, rng: np.random.Generator) -> Array:
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


def cases(models: int, steps: int) -> Iterator[Case]:
    """Yield what is measured."""
    rng = np.random.default_rng(1)
    inside, _ = draws.inside(PEOPLE, models, Fraction(1, 2), rng)
    label = rng.integers(0, CLASSES, PEOPLE)
    adam = Recipe(steps=steps, batch=64)
    private = replace(adam, clip=1.0, noise=1.0)
    tape: dict[str, Make] = {ALONE: plain}
    opacus: dict[str, Make] = {"Opacus hooks": hooks, "Opacus ghost": ghost}
    for genes, recipe, rivals, least in (
        (200, adam, tape, 2.0),
        (200, replace(adam, batch=16), tape, 5.0),
        (200, private, opacus, 5.0),
        (958, adam, tape, None),
    ):
        x = rng.normal(label[:, None] / 2, 1, (PEOPLE, genes)).astype(np.float32)
        kind = "DP-SGD" if recipe.clip else "classifier"
        name = f"{kind}, {genes} genes, B = {recipe.batch}"
        yield Case(name=name, recipe=recipe, x=x, label=label, inside=inside, rivals=rivals, least=least)


def _times(case: Case, repeats: int) -> dict[str, tuple[list[float], list[float]]]:
    """Return seconds of the clock and of the processor of every candidate, after a short turn of each."""
    brief = replace(case, recipe=replace(case.recipe, steps=2), inside=case.inside[:2])
    candidates: dict[str, Callable[[Case], object]] = {TOGETHER: together}
    candidates |= {name: functools.partial(one_by_one, make) for name, make in case.rivals.items()}
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in candidates}
    for turn in range(repeats + 1):
        for name, run in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run(case if turn else brief)
            if turn:
                found[name][0].append(time.perf_counter() - wall)
                found[name][1].append(time.process_time() - cpu)
    return found


def _rows(case: Case, times: dict[str, tuple[list[float], list[float]]]) -> Iterator[dict[str, Any]]:
    ours = statistics.median(times[TOGETHER][0])
    for name, (wall, cpu) in times.items():
        yield {
            "case": case.name,
            "models": len(case.inside),
            "steps": case.recipe.steps,
            "candidate": name,
            "seconds, median": statistics.median(wall),
            "CPU seconds, median": statistics.median(cpu),
            "over together": statistics.median(wall) / ours,
        }


def _targets(case: Case, rows: Sequence[dict[str, Any]]) -> Iterator[Target]:
    if case.least is not None:
        fastest = min(row["over together"] for row in rows if row["candidate"] != TOGETHER)
        name = f"{case.name}: one after another over together"
        yield Target(name=name, value=fastest, target=case.least, sense="at least")
    if ALONE in case.rivals:
        few = replace(case, inside=case.inside[:4])
        apart = np.abs(training.logits(together(few), case.x) - one_by_one(plain, few)).max()
        yield Target(name=f"{case.name}: logits differ by", value=float(apart), target=AGREE, sense="at most")


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Time every candidate on every case."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus' hooks warn at every step
        for case in cases(*((16, 25) if quick else (64, 100))):
            say(case.name)
            here = list(_rows(case, _times(case, 3 if quick else 5)))
            rows += here
            targets += _targets(case, here)
    return Result(rows=rows, targets=targets)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
