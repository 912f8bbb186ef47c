"""DeepType trained on rows that DP generators of RNA-seq make, beside DeepType on people: TCGA-BRCA, ε of a donor.

Each model has a table of its own, made of the people whom it may see, by the library's method as one trusted server
runs it. Attacked are the table, by who holds rows of other people (a third of those left out, who are not judged), and
the classifier, by who makes tables and classifiers of his own. A second group of five serves to choose by, and as
shadows.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.cells import Cache
from experiments.deeptype import attacked, people, pooled, training
from experiments.deeptype.people import GROUP, TCGA, People
from experiments.deeptype.pooled import Mask, Scores
from experiments.deeptype.sanitized import EPOCHS, accuracy, recipe
from experiments.harness import Target as Promise
from experiments.synthesis import arms, loop
from experiments.synthesis.loop import Facts
from fedgenome.audit import gate
from fedgenome.audit.distance import per_donor
from fedgenome.audit.results import Interval
from fedgenome.audit.run import ATTACKS, audit, split_base
from fedgenome.audit.scales import Values
from fedgenome.audit.shadows.training import logits
from fedgenome.audit.targets import Records, Target, joined, scaled
from fedgenome.cohort.shard import Shard

METHODS = ("marginals", "gaussian, low rank", "factors")
EPSILONS = (1.0, 3.0, 10.0)
BOUND, DELTA = 1000, 1e-5  # public bound on the donors in training, and δ
GROUPS = 2

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One generator at one price.

    Attributes:
        method: Of :data:`METHODS`.
        epsilon: Of a donor, with :data:`DELTA`.
    """

    method: str
    epsilon: float

    @property
    def key(self) -> str:
        """The cell in one line, with what no cell may choose."""
        made = arms.methods(arms.LOG)[self.method].made
        fixed = {"bound": BOUND, "delta": DELTA, "groups": GROUPS, "epochs": EPOCHS, "hidden": training.HIDDEN}
        return json.dumps({"generated": asdict(self) | fixed, "made": made}, sort_keys=True)


def rows(say: Callable[[str], None], kept: Cache[Row]) -> list[Row]:
    """Return a line a method and price."""
    found = []
    for cell in (Cell(method=method, epsilon=epsilon) for method in METHODS for epsilon in EPSILONS):
        if cell.key not in kept.known:
            say(f"{TCGA}: {cell.method}, epsilon {cell.epsilon:g}")
        point = {"family": "generated", "point": f"{cell.method.removeprefix('gaussian, ')}, {cell.epsilon:g}"}
        found.append({**point, **kept.get(cell, functools.partial(run, cell))})
    return found


def run(cell: Cell) -> Row:
    """Make the tables, train on them, attack both."""
    who = people.read(TCGA)
    inside = who.inside(GROUPS, seed=0)
    made = [drawn(who, own, cell, seed) for seed, own in enumerate(inside)]
    said = _trained(who, made)
    right = (said.argmax(2) == who.label) & ~inside
    row = {
        "cohort": TCGA,
        "arm": f"{cell.method}, DP, epsilon {cell.epsilon:g}",
        "seeds": GROUP,
        "groups": GROUPS,
        "epochs": EPOCHS,
        "epsilon of a donor": cell.epsilon,
        "delta": DELTA,
        **accuracy("accuracy", right, inside),
        "majority": round(float(np.mean([who.majority(each) for each in inside[:GROUP]])), 4),
    }
    return row | attacked.judged(said, who, inside) | {f"table: {n}": v for n, v in _judged(who, inside, made).items()}


def drawn(who: People, own: Mask, cell: Cell, seed: int) -> Records:
    """Return as many rows as those people have, made from them alone, in units of the range."""
    schema = who.schema
    names, donor = np.unique(who.owner[own], return_inverse=True)
    shard = Shard(
        x=schema.low + (schema.high - schema.low) * who.x[own],
        label=who.label[own],
        donor=donor,
        donors=tuple(map(str, names)),
        mask=np.ones(len(donor), np.bool_),
    )
    kind = arms.methods(arms.LOG)[cell.method].kind
    if kind is None:
        raise ValueError(f"expected a method of the library, got {cell.method}")
    facts = Facts(schema=schema, donors_bound=BOUND, delta=DELTA, rows=int(own.sum()))
    made = loop.method(kind, facts, cell.epsilon)
    return scaled(loop.table(made, loop.trained(made, shard, seed), facts.rows, seed), schema.low, schema.high)


def _trained(who: People, made: Sequence[Records]) -> npt.NDArray[np.float32]:
    """Return what DeepTypes trained each on its own table say of everybody, (models, rows, classes)."""
    every = joined(*made)
    own = np.repeat(np.arange(len(made)), [len(table) for table in made])
    steps, rng = recipe(EPOCHS, len(made[0])), np.random.default_rng(43)
    inside = own == np.arange(len(made))[:, None]
    x, label = every.x.astype(np.float32), every.label.astype(np.int64)
    models = training.train(x, label, inside, steps, rng, classes=who.classes, chunk=GROUP)
    return np.asarray(logits(models, who.x), np.float32)


def _judged(who: People, inside: Mask, made: Sequence[Records]) -> Row:
    """Return what the best attack on tables achieves on those of group 0, and whether the gate lets them go."""
    everyone = Records(x=who.x, label=who.label, donor=who.owner)
    member = np.stack([per_donor(own.astype(float), who.owner) == 1 for own in inside])
    outside, found = np.zeros_like(member), []
    for k, (own, table) in enumerate(zip(inside, made, strict=True)):
        controls, base = split_base(everyone.rows(~own), np.random.default_rng([47, k]))
        outside[k, controls.units] = True
        target = Target(table=table, samples=table)
        found.append({name: per_donor(score(everyone, target, base), who.owner) for name, score in ATTACKS.items()})
    scores = {name: np.stack([one[name] for one in found]) for name in ATTACKS}
    return _columns(scores, member, outside) | _verdicts(everyone, inside[:GROUP], made)


def _columns(scores: dict[str, Scores], inside: Mask, outside: Mask) -> Row:
    """Return AUC and advantage of the attack that is best on other groups, on group 0."""
    ours, others = slice(GROUP), slice(GROUP, None)

    def area(name: str, which: slice) -> Interval:
        return pooled.ranked(scores[name][which], inside[which], outside[which])

    cuts = {n: pooled.threshold(each[others], inside[others], outside[others]) for n, each in scores.items()}

    def gained(name: str, which: slice) -> Interval:
        return pooled.advantage(scores[name][which], inside[which], cuts[name], outside[which])

    row: Row = {}
    for what, by in {"any AUC": area, "advantage": gained}.items():
        worth = {name: by(name, others).estimate for name in scores}
        best = max(worth, key=worth.__getitem__)
        row |= {**pooled.told(what, by(best, ours)), f"{what} by": best}
    return row


def _verdicts(everyone: Records, inside: Mask, made: Sequence[Records]) -> Row:
    """Return of how many of the tables the gate's default policy lets go."""
    verdicts = []
    for k, own in enumerate(inside):
        found = audit(
            members=everyone.rows(own),
            controls=everyone.rows(~own),
            synthetic=made[k],
            scale=Values(0, 1),
            rng=np.random.default_rng([53, k]),
        )
        verdicts.append(gate.judge(found, gate.Policy()))
    return attacked.of_five(verdicts)


def targets(rows: Sequence[Row]) -> Iterator[Promise]:
    """Yield: no attack on a table shows more than its ε allows."""
    worst = max(row["table: advantage low"] - _most(row["epsilon of a donor"]) for row in rows)
    said = "tables with DP: largest lower end of TPR − FPR, less what its epsilon allows at most"
    yield Promise(name=said, value=worst, target=0.0, sense="at most")


def _most(epsilon: float) -> float:
    """Return the most that TPR − FPR can be under (ε, δ)-DP (Kairouz et al. 2015)."""
    return float((np.expm1(epsilon) + 2 * DELTA) / (np.exp(epsilon) + 1))
