"""DeepType on sanitized rows (Table II of the paper): how right it is, and who is told from it.

A site's rows are sanitized once, and all five models reported are trained on parts of that one table; each group of
shadows has a table of its own, as an attacker makes who knows the people but not the noise. Models are asked by clean
records, and by sanitized ones: each by those of its own table. Where the table itself is known, all groups share it.

ε is a sanitizer's: of a record, in proportion to distance (:mod:`fedgenome.sanitize.guarantee`), never DP-SGD's.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import pairwise_distances_argmin

from experiments.cells import Cache
from experiments.deeptype import attacked, people, sanitizers, training
from experiments.deeptype.people import GROUP, METABRIC, SIMULATED, TCGA, People
from experiments.harness import Target
from fedgenome.audit.results import LEVEL
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.sanitize.bases import BASES
from fedgenome.sanitize.guarantee import Guarantee
from fedgenome.study import Sanitize

EPOCHS, LONG = 100, 500  # as trained here, and as published
BATCH, RATE = 64, 1e-3
KEPT = 50
EPSILONS = (50.0, 100.0, 200.0)
GROUPS = {METABRIC: 5, TCGA: 4, SIMULATED: 3}
FEW = 3  # groups, where the table is known
QUICK = 400, 200, 40  # people, genes, epochs
SCALE = "sanitizer's epsilon per unit of distance"

Row = dict[str, Any]
Figures = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One line of the table.

    Attributes:
        name: In words.
        spec: The sanitizer; None: rows are clean.
        known: All groups are trained on the reported models' table.
        epochs: Passes over the rows.
        groups: Of models; None: as many as the cohort has.
    """

    name: str
    spec: Sanitize | None = None
    known: bool = False
    epochs: int = EPOCHS
    groups: int | None = None


def _noised(kind: Any, epsilon: float | None, keep: Any = KEPT) -> Sanitize:
    return Sanitize(kind=kind, keep=keep, epsilon=epsilon)


PLAIN, CUT, LONGER = "non-private", f"K = {KEPT}, no noise", f"non-private, {LONG} epochs"
TABLE = "table known"
ANEW = "members drawn anew"  # who is said to have trained clean models, and did not: the attacks' negative control


def arms(name: str, quick: bool = False) -> Iterator[Arm]:
    """Yield the lines of one cohort."""
    epochs = QUICK[2] if quick else EPOCHS
    yield Arm(name=PLAIN, epochs=epochs)
    yield Arm(name=CUT, spec=_noised("metric", None), epochs=epochs)
    for epsilon in EPSILONS[:1] if quick else EPSILONS:
        for kind in ("metric", "laplace"):
            yield Arm(name=named(kind, epsilon), spec=_noised(kind, epsilon), epochs=epochs)
    if quick:
        return
    yield Arm(name="metric, K = all, 100", spec=_noised("metric", 100.0, "all"))
    if name != SIMULATED:
        for epsilon in EPSILONS[:2]:
            yield Arm(
                name=f"{named('metric', epsilon)}, {TABLE}", spec=_noised("metric", epsilon), known=True, groups=FEW
            )
        yield Arm(name=LONGER, epochs=LONG, groups=2)


def named(kind: str, epsilon: float) -> str:
    """Return the name of an arm of K = 50 coefficients."""
    return f"{kind}, K = {KEPT}, {epsilon:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm on one cohort.

    Attributes:
        cohort: Name.
        arm: Which.
        groups: Of models.
        quick: Whether on few people, genes and epochs.
    """

    cohort: str
    arm: Arm
    groups: int
    quick: bool = False

    @property
    def key(self) -> str:
        """The cell in one line, with what no cell may choose."""
        spec = self.arm.spec and self.arm.spec.model_dump(mode="json")
        mine = {"cohort": self.cohort, "arm": self.arm.name, "spec": spec, "known": self.arm.known}
        fixed = {"epochs": self.arm.epochs, "groups": self.groups, "hidden": training.HIDDEN, "quick": self.quick}
        control = {"anew": True} if spec is None else {}
        return json.dumps({"sanitized": mine | fixed | control, "batch": BATCH, "rate": RATE}, sort_keys=True)


def rows(name: str, quick: bool, say: Say, kept: Cache[Figures]) -> list[Row]:
    """Return the lines of one cohort, with how much more or less often than other lines each is right."""
    found: dict[str, Figures] = {}
    for arm in arms(name, quick):
        cell = Cell(cohort=name, arm=arm, groups=2 if quick else arm.groups or GROUPS[name], quick=quick)
        if cell.key not in kept.known:
            say(f"{name}: {arm.name}")
        found[arm.name] = kept.get(cell, functools.partial(run, cell))
    who = people.simulated(QUICK[1], QUICK[0]) if quick else people.read(name)
    whole = {arm.name: {**_drawn(arm), **found[arm.name]["row"], **_linked(arm, who)} for arm in arms(name, quick)}
    for epsilon in EPSILONS:
        if (metric := named("metric", epsilon)) in found:
            whole[metric] |= _apart("less Laplace's", found[metric], found[named("laplace", epsilon)])
    whole[CUT] |= _apart("less non-private", found[CUT], found[PLAIN])
    return list(whole.values())


def _drawn(arm: Arm) -> Row:
    """Return as which point of which family the figure shows a line; of none where it only explains another."""
    spec = arm.spec
    if spec is None or spec.epsilon is None or spec.keep != KEPT or arm.known:
        return {"family": PLAIN if arm.name == PLAIN else "", "point": ""}
    return {"family": spec.kind, "point": f"{spec.epsilon:g}"}


def _linked(arm: Arm, who: People) -> Row:
    """Return the share of rows of the reported models' table that are nearest to their own original, by K."""
    if arm.spec is None:
        return {}
    basis, kept = BASES[arm.spec.basis], arm.spec.kept(who.x.shape[1])
    table = sanitizers.sanitized(who.x, arm.spec, np.random.default_rng([41, 0]))
    moved, originals = (basis.forward(rows.astype(np.float64), kept) for rows in (table, who.x))
    nearest = pairwise_distances_argmin(moved, originals)
    return {"linked by K": round(float((nearest == np.arange(len(nearest))).mean()), 4)}


def _apart(what: str, one: Figures, other: Figures) -> Row:
    """Return the mean difference of accuracies on clean records over all models, and its ends, by person."""
    share = np.array([[int(digit) for digit in each["right"]] for each in (one, other)]) / one["row"]["groups"]
    own = share[0] - share[1]
    half = stats.norm.isf((1 - LEVEL) / 2) * own.std(ddof=1) / math.sqrt(len(own))
    mean = float(own.mean())
    ends = {"": mean, " low": mean - half, " high": mean + half}
    return {f"accuracy {what}{end}": round(float(value), 4) for end, value in ends.items()}


def run(cell: Cell) -> Figures:
    """Train a cell's models and attack them: a line, and of how many groups' models each row is told right."""
    who = people.simulated(QUICK[1], QUICK[0]) if cell.quick else people.read(cell.cohort)
    inside = who.inside(cell.groups, seed=0)
    tables = list(_tables(who, cell))
    clean, own = _logits(who, inside, tables, cell)
    right, right_own = ((logits.argmax(2) == who.label) & ~inside for logits in (clean, own))
    row = _head(cell, who) | {
        **accuracy("accuracy", right, inside),
        "majority": round(float(np.mean([who.majority(each) for each in inside[:GROUP]])), 4),
        **attacked.judged(clean, who, inside),
    }
    if cell.arm.spec is None:
        nobody = attacked.judged(clean, who, who.inside(cell.groups, seed=1))
        row |= {f"{ANEW}: {n}": value for n, value in nobody.items() if n.startswith(("any AUC", "advantage"))}
    else:
        row |= accuracy("accuracy on sanitized records", right_own, inside)
        row |= {f"sanitized queries: {n}": value for n, value in attacked.judged(own, who, inside).items()}
    return {"row": row, "right": "".join(map(str, right.sum(0)))}


def _tables(who: People, cell: Cell) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the rows that each group is trained on."""
    for group in range(cell.groups):
        rng = np.random.default_rng([41, 0 if cell.arm.known else group])
        yield who.x if cell.arm.spec is None else sanitizers.sanitized(who.x, cell.arm.spec, rng)


def _logits(
    who: People, inside: npt.NDArray[np.bool_], tables: Sequence[npt.NDArray[np.float32]], cell: Cell
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return what all models say of clean rows, and of their own tables' rows, (models, rows, classes) each."""
    steps = recipe(cell.arm.epochs, int(inside[0].sum()))
    said: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = []
    for group, table in enumerate(tables):
        mine, rng = inside[group * GROUP : (group + 1) * GROUP], np.random.default_rng([43, group])
        (trained,) = training.train(table, who.label, mine, steps, rng, classes=who.classes)
        said.append((trained.logits(who.x), trained.logits(table)))
    clean, own = (np.concatenate(each) for each in zip(*said, strict=True))
    return clean, own


def recipe(epochs: int, rows: int) -> Recipe:
    """Return how a DeepType is trained on so many rows; it scales them by their own mean and deviation."""
    steps = epochs * rows // BATCH
    return Recipe(steps=steps, batch=BATCH, rate=RATE, hidden=training.HIDDEN, activation="sigmoid")


def accuracy(name: str, right: npt.NDArray[np.bool_], inside: npt.NDArray[np.bool_]) -> Row:
    """Return mean and standard deviation over the models of group 0, each on the rows that it left out."""
    each = right[:GROUP].sum(1) / (~inside[:GROUP]).sum(1)
    return {name: round(float(each.mean()), 4), f"{name} sd": round(float(each.std(ddof=1)), 4)}


def _head(cell: Cell, who: People) -> Row:
    arm, spec = cell.arm, cell.arm.spec
    row: Row = {"cohort": cell.cohort, "arm": arm.name, "seeds": GROUP, "groups": cell.groups, "epochs": arm.epochs}
    if spec is None:
        return row | {"sanitizer": "none", "K": "", SCALE: "", "epsilon × diameter": ""}
    promised = Guarantee.of(spec, who.schema)
    told = {SCALE: spec.epsilon or "none", "epsilon × diameter": round(promised.local, 1) if spec.epsilon else "none"}
    return row | {"sanitizer": spec.kind if spec.epsilon else "none", "K": promised.kept, **told}


def targets(rows: Sequence[Row]) -> Iterator[Target]:
    """Yield: clean models are found out, by sanitized records noised ones are too, metric noise costs less."""
    by = {(row["cohort"], row["arm"]): row for row in rows}
    for cohort in {cohort: None for cohort, name in by if name == PLAIN}:
        row = by[cohort, PLAIN]
        low, nobody = row["Song-Mittal AUC low"], row[f"{ANEW}: any AUC low"]
        said = f"{cohort}, {PLAIN}: AUC of the"
        yield Target(name=f"{said} best Song–Mittal attack, lower end", value=low, target=0.5, sense="at least")
        yield Target(name=f"{said} best attack, {ANEW}, lower end", value=nobody, target=0.5, sense="at most")
        kept = row["released of five"]
        said = f"{cohort}, {PLAIN}: models of five that the gate releases"
        yield Target(name=said, value=kept, target=0, sense="at most")
        noised = by[cohort, named("metric", EPSILONS[0])]
        more = noised["sanitized queries: any AUC low"] - noised["any AUC high"]
        said = f"{cohort}, metric, {EPSILONS[0]:g}: AUC by sanitized records, lower end, less by clean ones, upper end"
        yield Target(name=said, value=round(more, 4), target=0.0, sense="at least")
    at = TCGA, named("metric", EPSILONS[0])
    if at in by:
        low = by[at]["accuracy less Laplace's low"]
        said = f"{TCGA}: accuracy with metric noise less with Laplace's at {EPSILONS[0]:g}, lower end"
        yield Target(name=said, value=low, target=0.0, sense="at least")
