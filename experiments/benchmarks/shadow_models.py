"""Shadow models trained together, against the same models trained one after another.

On half of 800 people of 5 classes each, with Adam and one thread: classifiers of 64 hidden units, and CVAEs of 64 and
a latent of 8. Every model has its own people, weights and batches, classifiers their own scalers. A candidate is
timed from people to what its models say of everybody. Candidates take turns; ratios are of medians of the clock.

- ``together``: :mod:`fedgenome.audit.shadows`, 16 models at once.
- ``one by one``: torch's layers and tape, ``torch.optim.Adam(fused=True)``, a model at a time.
- Under DP-SGD: ``Opacus hooks`` and ``Opacus ghost``, a model at a time, with noise of multiplier 1, as ours.

Without noise all must say the same. The row of 958 genes has no target: where products are large, little else can be
saved.
Run: ``python -m experiments.benchmarks.shadow_models`` (``--quick``: 16 models of fewer steps).
"""

from __future__ import annotations

import functools
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from experiments import harness
from experiments.benchmarks import _shadow_rivals as rivals
from experiments.benchmarks._shadow_rivals import CLASSES, LATENT
from experiments.harness import Result, Target
from fedgenome.audit.shadows import autoencoders, draws, training
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.query import Array

PEOPLE = 800
TOGETHER, ALONE = "together", "one by one"
AGREE = 1e-4

Train = Callable[[Array, Array, Recipe, Array], Array]  # (x, label, recipe, inside) -> what models say of everybody


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What is trained.

    Attributes:
        name: In rows and targets.
        recipe: How.
        x: (people, genes).
        label: (people,).
        inside: bool (models, people).
        together: All at once.
        rivals: One by one.
        least: How many times as long as ours the fastest rival must take; None: no target.
    """

    name: str
    recipe: Recipe
    x: Array
    label: Array
    inside: Array
    together: Train
    rivals: Mapping[str, Train]
    least: float | None

    def run(self, train: Train) -> Array:
        """Return what models trained by a candidate say of everybody."""
        return train(self.x, self.label, self.recipe, self.inside)

    def apart(self) -> float:
        """Return by how much answers differ without noise, in units of their own deviation where that is above 1."""
        quiet = replace(self, recipe=replace(self.recipe, noise=0.0), inside=self.inside[:4])
        ours = quiet.run(self.together)
        furthest = max(np.abs(quiet.run(rival) - ours).max() for rival in self.rivals.values())
        return float(furthest / max(1.0, ours.std()))


def _classifiers(x: Array, label: Array, recipe: Recipe, inside: Array) -> Array:
    trained = training.train(x, label, inside, recipe, np.random.default_rng(1), classes=CLASSES)
    return training.logits(trained, x)


def _autoencoders(x: Array, label: Array, recipe: Recipe, inside: Array) -> Array:
    onehot = np.eye(CLASSES, dtype=np.float32)[label]
    make = functools.partial(rivals.new_autoencoder, x.shape[1])
    trained = autoencoders.train(x, onehot, inside, make, recipe, np.random.default_rng(1))
    return np.concatenate([models.losses(x, onehot, np.zeros((len(x), LATENT))) for models in trained])


def cases(models: int, steps: int) -> Iterator[Case]:
    """Yield what is measured."""
    rng = np.random.default_rng(1)
    inside, _ = draws.inside(PEOPLE, models, Fraction(1, 2), rng)
    label = rng.integers(0, CLASSES, PEOPLE)

    def case(
        kind: str, genes: int, recipe: Recipe, train: Train, others: dict[str, Train], least: float | None
    ) -> Case:
        x = rng.normal(label[:, None] / 2, 1, (PEOPLE, genes)).astype(np.float32)
        if recipe.scale == "none":
            x = (x - x.min()) / np.ptp(x)
        who: dict[str, Any] = {"x": x, "label": label, "inside": inside}
        name = f"{kind}, {genes} genes, B = {recipe.batch}"
        return Case(name=name, recipe=recipe, together=train, rivals=others, least=least, **who)

    def of(make: rivals.Make) -> Train:
        return functools.partial(rivals.classifiers, make)

    adam = Recipe(steps=steps, batch=64)
    tape, opacus = {ALONE: of(rivals.plain)}, {"Opacus hooks": of(rivals.hooks), "Opacus ghost": of(rivals.ghost)}
    yield case("classifier", 200, adam, _classifiers, tape, 2.0)
    yield case("classifier", 200, replace(adam, batch=16), _classifiers, tape, 5.0)
    yield case("DP-SGD", 200, replace(adam, clip=1.0, noise=1.0), _classifiers, opacus, 5.0)
    yield case("CVAE", 200, replace(adam, scale="none"), _autoencoders, {ALONE: rivals.autoencoders}, 1.4)
    yield case("classifier", 958, adam, _classifiers, tape, None)


def _times(case: Case, repeats: int) -> dict[str, tuple[list[float], list[float]]]:
    """Return seconds of the clock and of the processor of every candidate, after a short turn of each."""
    brief = replace(case, recipe=replace(case.recipe, steps=2), inside=case.inside[:2])
    candidates = {TOGETHER: case.together, **case.rivals}
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in candidates}
    for turn in range(repeats + 1):
        for name, train in candidates.items():
            wall, cpu = time.perf_counter(), time.process_time()
            (case if turn else brief).run(train)
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
    yield Target(name=f"{case.name}: answers differ by", value=case.apart(), target=AGREE, sense="at most")


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
