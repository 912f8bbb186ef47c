"""Table I: DP-SGD with the published clip norms, noise and epochs, which nobody tuned.

500 epochs of batches of 64 expected rows at rate 1e-3. The table does not name its optimiser. Adam divides the clip
norm out again; the path of plain SGD is at most 500 epochs · rate · clip norm long and a little noise, so that it
hardly leaves its start. Both are run, and the start itself is asked. Genes are standardised by the training rows' own
means and deviations, which ε does not cover, as was published; a row is a unit. Batches are Poisson samples here, as ε
presumes; the published code, like most, shuffled.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from experiments.deeptype import people, training
from experiments.deeptype.people import GROUP, METABRIC, SIMULATED, People
from fedgenome.audit.shadows.recipe import Recipe

SIGMAS, CLIPS = (1.0, 0.1, 0.01), (0.1, 0.01, 0.001)
BATCH, EPOCHS, RATE = 64, 500, 1e-3
ATTACKED = 0.1  # clip norm of the cells that have a second group of models, their shadows
FEW = 2  # models of a cell that is only there for completeness, where models are dear
_STILL = 1e-30  # a learning rate by which nothing moves
_SMALL = 300, 60  # people and genes of the quick form
_SEED = 41

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Models of one setting.

    Attributes:
        cohort: Of :data:`experiments.deeptype.people.COHORTS`.
        optimiser: ``start``: nothing is trained.
        sigma: Noise multiplier.
        clip: Norm of a row's gradient at most.
        epochs: Passes over the rows, in expectation.
        models: How many: part of a group, one group, or one and their shadows'.
        small: Whether the cohort is a small simulated one.
    """

    cohort: str
    optimiser: Literal["adam", "sgd", "start"] = "adam"
    sigma: float = 1.0
    clip: float = 0.1
    epochs: int = EPOCHS
    models: int = GROUP
    small: bool = False

    @property
    def key(self) -> str:
        """The cell in one line, with what no cell may choose."""
        return json.dumps(asdict(self) | {"batch": BATCH, "rate": RATE, "hidden": training.HIDDEN}, sort_keys=True)

    def people(self) -> People:
        """Return its cohort."""
        return people.simulated(people=_SMALL[0], genes=_SMALL[1]) if self.small else people.read(self.cohort)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What models of a cell say.

    Attributes:
        who: The cohort.
        inside: Whose rows trained each, bool (models, rows).
        logits: float32 (models, rows, classes).
    """

    who: People
    inside: npt.NDArray[np.bool_]
    logits: npt.NDArray[np.float32]


def cells(name: str, quick: bool) -> Iterator[Cell]:
    """Yield the cells of a cohort, Adam's first."""
    if quick:
        yield Cell(cohort=name, epochs=20, models=2 * GROUP, small=True)
        yield Cell(cohort=name, optimiser="sgd", epochs=20, small=True)
        return
    for sigma, clip in itertools.product(SIGMAS, CLIPS):
        if models := _models(name, sigma, clip):
            yield Cell(cohort=name, sigma=sigma, clip=clip, models=models)
    if name == METABRIC:
        yield Cell(cohort=name, optimiser="start")
        for sigma, clip in itertools.product(SIGMAS, CLIPS):
            yield Cell(cohort=name, optimiser="sgd", sigma=sigma, clip=clip, models=GROUP if clip == ATTACKED else FEW)


def _models(name: str, sigma: float, clip: float) -> int:
    """Return how many models Adam trains in a cell: METABRIC's are cheap, those of the simulated cohort dear.

    Where clip norms are shown not to differ, two models or none do for the others.
    """
    if name == SIMULATED:
        return {(1.0, ATTACKED): GROUP}.get((sigma, clip), FEW if sigma == 1 or clip == ATTACKED else 0)
    return 2 * GROUP if clip == ATTACKED else GROUP if name == METABRIC else FEW


def trained(cell: Cell) -> Trained:
    """Train the cell's models, five at a time."""
    who = cell.people()
    inside = who.inside(-(-cell.models // GROUP), 0)[: cell.models]
    start = cell.optimiser == "start"
    recipe = Recipe(
        steps=1 if start else round(cell.epochs * int(inside[0].sum()) / BATCH),
        batch=BATCH,
        hidden=training.HIDDEN,
        activation="sigmoid",
        sampling="poisson",
        optimiser="adam" if cell.optimiser == "adam" else "sgd",
        rate=_STILL if start else RATE,
        clip=cell.clip,
        noise=0.0 if start else cell.sigma,
    )
    rng = np.random.default_rng([_SEED, *map(ord, cell.cohort)])
    found = training.train(who.x, who.label, inside, recipe, rng, classes=who.classes, chunk=GROUP)
    logits = np.concatenate([models.logits(who.x) for models in found])
    return Trained(who=who, inside=inside, logits=logits)


def accuracies(found: Trained) -> list[float]:
    """Return how often each model of the first group is right about rows that it never saw."""
    told = found.logits[:GROUP].argmax(2) == found.who.label
    return [float(right[~seen].mean()) for right, seen in zip(told, found.inside, strict=False)]
