"""Table I: DP-SGD with the published clip norms, noise and epochs, which nobody tuned.

500 epochs of batches of 64 expected rows at rate 1e-3. The table does not name its optimiser. Adam divides the clip
norm out again; the path of plain SGD is, noise apart, at most steps · rate · clip norm long: 1.2, .12 and .012 where
weights have a norm of about 20. Both are run, and the start itself is asked. Genes are standardised by the training
rows' own means and deviations, which ε does not cover, as was published; a row is a unit. Batches are Poisson samples
here, as ε presumes; the published code, like most, shuffled.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from experiments.cells import Cache
from experiments.deeptype import attacked, folds, people, prices, training
from experiments.deeptype.people import GROUP, METABRIC, SIMULATED, People
from experiments.deeptype.prices import Steps
from experiments.harness import Target
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.query import Array

SIGMAS, CLIPS = (1.0, 0.1, 0.01), (0.1, 0.01, 0.001)
BATCH, EPOCHS, RATE = 64, 500, 1e-3
ATTACKED = 0.1  # clip norm of the cells that have a second group of models, their shadows
FEW = 2  # models of a cell that is only there for completeness, where models are dear
_STILL = 1e-30  # a learning rate by which nothing moves
_SMALL = 300, 60  # people and genes of the quick form
_SEED = 41

PUBLISHED = 1536  # rows that the published models were trained on
PRINTED = {1.0: (4598, 2), 0.1: (255_130, 0), 0.01: (65_580_612, 0)}  # ε by σ: digits, and how many after the point
ARM = "DP-SGD, Table I"
_OPTIMISERS = {"adam": "Adam", "sgd": "SGD", "start": "not trained"}

Row = dict[str, Any]
Figures = dict[str, Any]
Say = Callable[[str], None]


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


def published(name: str, quick: bool) -> Cell:
    """Return the cell whose ε was printed as 45.98, at the clip norm that has five folds on every cohort."""
    return next(
        cell for cell in cells(name, quick) if (cell.optimiser, cell.sigma, cell.clip) == ("adam", 1.0, ATTACKED)
    )


def rows(name: str, quick: bool, say: Say, kept: Cache[Figures]) -> list[Row]:
    """Return the lines of one cohort."""
    found = []
    for cell in cells(name, quick):
        if cell.key not in kept.known:
            say(f"{name}: Table I, {cell.optimiser}, sigma {cell.sigma:g}, clip {cell.clip:g}")
        figures = kept.get(cell, functools.partial(run, cell))
        found.append(_head(cell, figures["rows"]) | figures["row"])
    return found


def _head(cell: Cell, trained: int) -> Row:
    row: Row = {"cohort": cell.cohort, "arm": f"{ARM}, {_OPTIMISERS[cell.optimiser]}", "unit": "row"}
    row |= {"epochs": cell.epochs, "seeds": min(cell.models, GROUP), "groups": -(-cell.models // GROUP)}
    if cell.optimiser == "start":
        return row | {"epsilon": 0.0}
    published = Steps.of(cell.sigma, PUBLISHED, BATCH, EPOCHS)
    return row | {
        "sigma": cell.sigma,
        "clip": cell.clip,
        "delta": prices.DELTA,
        "epsilon": round(prices.tight(Steps.of(cell.sigma, trained, BATCH, cell.epochs)), 2),
        "epsilon as printed": round(prices.printed(published)[0], 2),
        "epsilon of the published, by PLD": round(prices.tight(published), 2),
        "everything paid": "no",
    }


def run(cell: Cell) -> Figures:
    """Train a cell's models, ask them about those they left out, and attack them where they have shadows."""
    who = cell.people()
    inside = who.inside(-(-cell.models // GROUP), 0)[: cell.models]
    said = logits(cell, who, inside)
    each = folds.right(said[:GROUP], who, inside[:GROUP])
    row = folds.accuracy(each, [who.majority(mine) for mine in inside[:GROUP]])
    row |= attacked.judged(said, who, inside) if cell.models > GROUP else {}
    return {"row": row, "each": each, "rows": int(inside[0].sum())}


def logits(cell: Cell, who: People, inside: Array) -> Array:
    """Train the cell's models, five at a time; return what they say of all rows, float32 (models, rows, classes)."""
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
    return np.concatenate([models.logits(who.x) for models in found])


def targets() -> Iterator[Target]:
    """Yield: the printed ε to the printed digit, cut off there."""
    for sigma, (whole, digits) in PRINTED.items():
        found = prices.printed(Steps.of(sigma, PUBLISHED, BATCH, EPOCHS))[0] * 10**digits
        name = f"Table I, sigma {sigma:g}: printed epsilon less the recomputed one, in last printed digits"
        yield Target(name=name, value=abs(whole - math.floor(found)), target=0, sense="at most")
