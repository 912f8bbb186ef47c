"""DP-SGD tuned fairly: how much of what Table I lost was the grid's, and what each thing that has to be paid costs.

DeepType and softmax regression of the library at ε = 1, 3, 10 and 46 a person, everything paid, with options chosen on
simulated people (:mod:`.choosing`). Beside the tuned rows a price list: the same model with one thing otherwise. Where
genes are standardised by the true figures of the training people ε does not cover it, and the row says so.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from experiments.cells import Cache
from experiments.deeptype import attacked, folds, grid, held, learned, people
from experiments.deeptype.choosing import EPSILONS, START, Options
from experiments.deeptype.people import GROUP, METABRIC, SIMULATED, TCGA
from experiments.harness import Target

GROUPS = 3  # of five models: the reported ones and two of shadows
DEEPTYPE, LINEAR = "DP-SGD, tuned", "softmax regression, DP"
LAST = EPSILONS[-1]  # that of the published settings
_TABLE = "less Table I's"
PRICED: Mapping[str, Sequence[float]] = MappingProxyType({TCGA: (3.0,), METABRIC: (3.0,)})  # ε of the price list
_SMALL = 300, 40  # people and genes of the quick form

Row = dict[str, Any]
Figures = dict[str, Any]
Say = Callable[[str], None]

_ALL: Options = {"normalise": "global"}
_NARROW: Options = _ALL | {"hidden": [32, 16]}
_CHANGED: Mapping[str, Mapping[float, Options]] = MappingProxyType(  # what choosing changed of its start
    {
        TCGA: {
            1.0: _NARROW,
            3.0: _ALL | {"clip": 0.3},
            10.0: _ALL | {"clip": 3.0, "rate": 0.01},
            46.0: _ALL | {"clip": 3.0, "rate": 0.01, "hidden": [32, 16], "rounds": 600},
        },
        SIMULATED: {
            1.0: {"rate": 0.01, "joint": 0.5},
            3.0: _NARROW | {"clip": 0.3},
            10.0: _ALL | {"clip": 3.0, "rate": 0.01, "hidden": [128, 64], "rounds": 600},
            46.0: {"rate": 0.01, "hidden": [32, 16]},
        },
        METABRIC: {1.0: {"rounds": 600}, 3.0: _NARROW, 10.0: _NARROW, 46.0: _NARROW},
    }
)
CHOSEN: Mapping[str, Mapping[float, Options]] = MappingProxyType(
    {name: {epsilon: START | changed for epsilon, changed in each.items()} for name, each in _CHANGED.items()}
)
GUESSES: Mapping[str, Options] = MappingProxyType(  # public: how such data are written, for softmax regression
    {
        SIMULATED: {"middle": 7.5, "radius": 60.0},
        TCGA: {"middle": 7.5, "radius": 110.0},
        METABRIC: {"middle": 0.0, "radius": 12.0},
    }
)
PRICES: Mapping[str, Options] = MappingProxyType(
    {
        "range of every gene public": {"normalise": "off"},
        "centre and scale of all genes charged": {"normalise": "global", "preludes_noise": 1.0},
        "centre and scale of each gene charged": {"normalise": "gene", "preludes_noise": 1.0},
        "pulled to public centres": {"joint": 0.5, "centres": "simplex"},
        "pulled to charged centres": {"joint": 0.5, "centres": "charged"},
        "the published clip norm, .1": {"clip": 0.1},
        "the published clip norm, .001": {"clip": 0.001},
    }
)
UNPAID = "centre and scale of each gene not paid for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Models of one setting on one cohort.

    Attributes:
        cohort: Of :data:`experiments.deeptype.people.COHORTS`.
        epsilon: What it costs a person.
        options: The method's.
        kind: Of the registry.
        groups: Of five models; one: they are not attacked.
        paid: False: genes are standardised beforehand by the training people's own figures.
        quick: Whether the cohort is a small simulated one.
    """

    cohort: str
    epsilon: float
    options: Mapping[str, Any]
    kind: str = "deeptype"
    groups: int = GROUPS
    paid: bool = True
    quick: bool = False

    @property
    def key(self) -> str:
        """The cell in one line."""
        mine = {"cohort": self.cohort, "kind": self.kind, "options": dict(self.options), "epsilon": self.epsilon}
        fixed = {"groups": self.groups, "paid": self.paid, "quick": self.quick, "delta": learned.DELTA}
        return json.dumps({"tuned": mine | fixed, "bound": learned.BOUNDS[self.cohort]}, sort_keys=True)

    def head(self, arm: str) -> Row:
        """Return what a line says before its figures."""
        row = learned.head(self.cohort, arm, self.epsilon)
        told = {
            "options": json.dumps(dict(self.options), sort_keys=True),
            "everything paid": "yes" if self.paid else "no",
        }
        return row | told | {"seeds": GROUP, "groups": self.groups}

    def run(self) -> Figures:
        """Train the models; attack them where there are shadows."""
        who = people.simulated(_SMALL[1], _SMALL[0]) if self.quick else people.read(self.cohort)
        inside = who.inside(self.groups, 0)
        made = learned.method(self.options, who.schema, learned.BOUNDS[self.cohort], self.epsilon, self.kind)
        seen = [who if self.paid else learned.standardised(who, mine) for mine in inside]
        each_said = zip(seen, inside, strict=True)
        said = np.stack([learned.logits(made, own, mine, seed) for seed, (own, mine) in enumerate(each_said)])
        each = folds.right(said[:GROUP], who, inside[:GROUP])
        row = folds.accuracy(each, [who.majority(mine) for mine in inside[:GROUP]])
        return {"row": row | (attacked.judged(said, who, inside) if self.groups > 1 else {}), "each": each}


def cells(name: str, quick: bool) -> Iterator[tuple[str, Cell]]:
    """Yield the lines of one cohort with their names."""
    if quick:
        yield DEEPTYPE, Cell(cohort=name, epsilon=46.0, options=START | {"rounds": 30}, groups=2, quick=True)
        yield LINEAR, Cell(cohort=name, epsilon=3.0, options={}, kind="linear", groups=2, quick=True)
        return
    for epsilon in EPSILONS:
        yield DEEPTYPE, Cell(cohort=name, epsilon=epsilon, options=CHOSEN[name][epsilon])
        yield LINEAR, Cell(cohort=name, epsilon=epsilon, options=GUESSES[name], kind="linear")
    for epsilon in PRICED.get(name, ()):
        tuned = CHOSEN[name][epsilon]
        for price, option in PRICES.items():
            if tuned | option != tuned:
                yield price, Cell(cohort=name, epsilon=epsilon, options=tuned | option, groups=1)
        yield UNPAID, Cell(cohort=name, epsilon=epsilon, options=tuned | {"normalise": "off"}, groups=1, paid=False)


def rows(name: str, quick: bool, say: Say, kept: Cache[Figures]) -> list[Row]:
    """Return the lines of one cohort: tuned ones, the price list, and what a look at the cohort would choose.

    Those that are at an ε of a tuned line, and of no other method, say how much more or less often they are right.
    """
    found: list[Row] = []
    tuned: dict[float, Figures] = {}
    lines: list[tuple[str, Cell | held.Cell]] = [*cells(name, quick), *_looked(name, quick)]
    for arm, cell in lines:
        if cell.key not in kept.known:
            say(f"{name}: {arm}, epsilon {cell.epsilon:g}")
        figures = kept.get(cell, cell.run)
        row = cell.head(arm) | figures["row"]
        if arm == DEEPTYPE:
            tuned[cell.epsilon] = figures
        elif arm != LINEAR:
            row |= folds.apart("less tuned", figures["each"], tuned[cell.epsilon]["each"])
        if arm in (DEEPTYPE, held.ARM) and cell.epsilon == LAST:
            table = grid.published(name, quick)
            row |= folds.apart(_TABLE, figures["each"], kept.get(table, functools.partial(grid.run, table))["each"])
        found.append(row)
    return found


def _looked(name: str, quick: bool) -> Iterator[tuple[str, held.Cell]]:
    for epsilon in () if quick or name == SIMULATED else EPSILONS[1:]:
        yield held.ARM, held.Cell(cohort=name, epsilon=epsilon)


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield: tuned models at ε = 46 beat the published settings, and at ε = 3 the commonest class."""
    for row in rows:
        said = f"{row['cohort']}, {row['arm']}, epsilon {row.get('epsilon')}"
        for what in (_TABLE,) if row.get("epsilon") == LAST else ("less majority",) if row.get("epsilon") == 3 else ():
            if row["arm"] == DEEPTYPE and f"accuracy {what} low" in row:
                value = row[f"accuracy {what} low"]
                yield Target(name=f"{said}: accuracy {what}, lower end", value=value, target=0.0, sense="at least")
