"""The published size: 20,000 genes, 1,024 and 512 hidden units, on the simulated cohort. One fold: a check of size.

What is trained without noise is trained as in Table II, what is tuned has the options that were chosen for 1,000 genes,
on the published network and on the small one that they name.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.cells import Cache
from experiments.deeptype import folds, learned, people, sanitized, sanitizers, training, tuned, worlds
from experiments.deeptype.people import SIMULATED, People
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.query import Array
from fedgenome.study import Sanitize

EPOCHS = 100
WIDTHS = training.PUBLISHED.hidden
EPSILONS = (3.0,)

Row = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One model.

    Attributes:
        arm: In words.
        sanitizer: ε a unit of distance of metric noise on 50 coefficients; None: rows are clean.
        epsilon: Of a person; None: no noise in training.
        options: Of the library's method, where it trains.
        kind: Of the registry.
    """

    arm: str
    sanitizer: float | None = None
    epsilon: float | None = None
    options: Mapping[str, Any] | None = None
    kind: str = "deeptype"

    @property
    def key(self) -> str:
        """The cell in one line, with what no cell may choose."""
        return json.dumps({"full": asdict(self), "genes": worlds.GENES, "epochs": EPOCHS, "hidden": WIDTHS})


def cells() -> Iterator[Cell]:
    """Yield what is trained."""
    yield Cell(arm=sanitized.PLAIN)
    yield Cell(arm=sanitized.named("metric", 100.0), sanitizer=100.0)
    for epsilon in EPSILONS:
        options = tuned.CHOSEN[SIMULATED][epsilon]
        yield Cell(
            arm=f"{tuned.DEEPTYPE}, published units", epsilon=epsilon, options=options | {"hidden": list(WIDTHS)}
        )
        yield Cell(arm=f"{tuned.DEEPTYPE}, units as chosen", epsilon=epsilon, options=options)
        guess = tuned.GUESSES[SIMULATED] | {
            "radius": tuned.GUESSES[SIMULATED]["radius"] * (worlds.GENES / people.STUDIED) ** 0.5
        }
        yield Cell(arm=tuned.LINEAR, epsilon=epsilon, options=guess, kind="linear")


def rows(say: Say, kept: Cache[Any]) -> Iterator[Row]:
    """Yield a line a model."""
    for cell in cells():
        if cell.key not in kept.known:
            say(f"{worlds.GENES:,} genes: {cell.arm}, epsilon {cell.epsilon}")
        figures = kept.get(cell, functools.partial(run, cell))
        row: Row = {"cohort": f"{SIMULATED}, {worlds.GENES:,} genes", "arm": cell.arm, "seeds": 1}
        row |= {
            "epsilon": cell.epsilon or "",
            sanitized.SCALE: cell.sanitizer or "",
            "options": json.dumps(cell.options),
        }
        yield row | figures


def run(cell: Cell) -> Row:
    """Train one model and ask it about those that it left out."""
    who = people.simulated(worlds.GENES)
    inside = who.inside(1, 0)[:1]
    said = _plain(cell, who, inside) if cell.options is None else _private(cell, who, inside)
    (accuracy,) = folds.right(said, who, inside)
    return {
        "accuracy": round(accuracy, 4),
        "majority": round(who.majority(inside[0]), 4),
        "tested": int((~inside).sum()),
    }


def _plain(cell: Cell, who: People, inside: Array) -> Array:
    """Return what a DeepType says that is trained without noise, on clean or on sanitized rows, of clean ones."""
    spec = Sanitize(kind="metric", keep=sanitized.KEPT, epsilon=cell.sanitizer)
    x = who.x if cell.sanitizer is None else sanitizers.sanitized(who.x, spec, np.random.default_rng([41, 0]))
    recipe = Recipe(
        steps=EPOCHS * int(inside.sum()) // sanitized.BATCH,
        batch=sanitized.BATCH,
        hidden=WIDTHS,
        activation="sigmoid",
        rate=sanitized.RATE,
    )
    (trained,) = training.train(x, who.label, inside, recipe, np.random.default_rng([43, 0]), classes=who.classes)
    return trained.logits(who.x)


def _private(cell: Cell, who: People, inside: Array) -> Array:
    if cell.options is None or cell.epsilon is None:
        raise ValueError("expected options and a price")
    made = learned.method(cell.options, who.schema, learned.BOUNDS[SIMULATED], cell.epsilon, cell.kind)
    return learned.logits(made, who, inside[0], 0)[None]
