"""Records that a way to make tables fails to hide: shadow features against the library's generators, fitted afresh.

TCGA-BRCA, 100 genes drawn by seed; 50 patients make a table of 50 rows. Attacked are the eight patients who lie
farthest out and eight in the middle, each through 60 fits with it and 60 without, of which 20 and 20 are learned from.
ε of a record is Clopper–Pearson's lower bound, at 5 % over all features and records of a line. "Resampled" has rows of
its makers, drawn with replacement; "of anybody" has rows of the whole cohort, whoever its makers are.
Run: ``python -m experiments.shadow_features.run`` (minutes; ``--quick``: two records, the two controls, marginals).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments import harness
from experiments.audit_levels import worlds
from experiments.audit_levels.worlds import Study
from experiments.harness import Result, Target
from experiments.synthesis import loop
from experiments.synthesis.arms import LOG
from experiments.synthesis.loop import Kind
from fedgenome.audit.bounds import clopper_pearson
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.shadow_features import FEATURES, Fit, guessed
from fedgenome.audit.targets import Records, people, scaled
from fedgenome.cohort.shard import Shard
from fedgenome.query import Array

MAKERS, ROWS, TRIALS = 50, 50, 40  # people of a table, its rows; tables guessed, with the record, and without
RECORDS = 8  # attacked, of each sort
EPSILONS = (None, 10.0, 1.0)
BOUND, DELTA = 60, 1e-4
KINDS = {
    "marginals": Kind(kind="marginals"),
    "gaussian, low rank": Kind(kind="gaussian", options={"covariance": "lowrank", **LOG}),
}
RESAMPLED, ANYBODY = "resampled", "of anybody"
FAR, ORDINARY = "far out", "ordinary"
MISS = 0.05

Found = dict[tuple[str, float | None, str], list[dict[str, Counts]]]  # one entry a record


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Attack every generator through records of both sorts."""
    study = worlds.read()
    everyone = scaled(people(study.shard), *study.ends)
    count = 2 if quick else RECORDS
    found: Found = {}
    for name, epsilon, fit in _generators(study, quick):
        for who, records in _attacked(everyone, count).items():
            found[name, epsilon, who] = [_counts(everyone, record, fit) for record in records]
        say(f"{name}, epsilon {epsilon}")
    return Result(rows=[_row(key, each) for key, each in found.items()], targets=list(_targets(found)))


def _generators(study: Study, quick: bool) -> Iterator[tuple[str, float | None, Fit]]:
    own = scaled(people(study.shard), *study.ends).x
    yield RESAMPLED, None, lambda makers, rng: makers.rows(rng.choice(len(makers), ROWS))
    yield ANYBODY, None, lambda makers, rng: _rows(rng.choice(own, (ROWS,)))
    for name, kind in KINDS.items():
        for epsilon in EPSILONS:
            if not quick or (name, epsilon) == ("marginals", None):
                yield name, epsilon, _fit(study, kind, epsilon)


def _rows(x: Array) -> Records:
    return Records(x=x, label=np.zeros(len(x), int))


def _fit(study: Study, kind: Kind, epsilon: float | None) -> Fit:
    """Return a fit of the library's method, as one trusted server would; a δ of the study's."""
    facts = replace(study.facts, donors_bound=BOUND, delta=DELTA, rows=ROWS)
    made = loop.method(kind, facts, epsilon)
    low, high = study.ends

    def fit(makers: Records, rng: np.random.Generator) -> Records:
        names, donor = np.unique(makers.owner, return_inverse=True)
        shard = Shard(
            x=(low + makers.x * (high - low)).astype(np.float32),
            label=makers.label,
            donor=donor,
            donors=tuple(map(str, names)),
            mask=np.ones(len(makers), bool),
        )
        seed = int(rng.integers(1 << 31))
        return scaled(loop.table(made, loop.trained(made, shard, seed), ROWS, seed), low, high)

    return fit


def _attacked(everyone: Records, count: int) -> Mapping[str, Sequence[int]]:
    """Return donors far out and donors in the middle, by the mean square of their standardised genes."""
    units = everyone.units
    x = np.stack([everyone.of(np.array([unit])).x.mean(0) for unit in units])
    spread = x.std(0)
    out = (((x - x.mean(0)) / np.where(spread > 0, spread, 1)) ** 2).mean(1)
    order, middle = units[np.argsort(-out)], len(units) // 2
    return {FAR: order[:count].tolist(), ORDINARY: order[middle : middle + count].tolist()}


def _counts(everyone: Records, donor: int, fit: Fit) -> dict[str, Counts]:
    record, others = everyone.of(np.array([donor])), everyone.of(np.setdiff1d(everyone.units, [donor]))
    return guessed(record, others, fit, np.random.default_rng([1, donor]), people=MAKERS, trials=TRIALS)


def _row(key: tuple[str, float | None, str], found: Sequence[Mapping[str, Counts]]) -> dict[str, Any]:
    name, epsilon, who = key
    bounds = [max(_epsilon(each, len(found)) for each in one.values()) for one in found]
    told = {
        "generator": name,
        "epsilon": "none" if epsilon is None else f"{epsilon:g}",
        "records": who,
        "attacked": len(found),
        "told from tables without": sum(each > 0 for each in bounds),
        "largest epsilon refuted": round(max(bounds), 3),
    }
    return told | {f"hits less false alarms, {each}": _advantage([one[each] for one in found]) for each in FEATURES}


def _epsilon(counts: Counts, records: int) -> float:
    return clopper_pearson.epsilon(counts, MISS / (len(FEATURES) * records), DELTA)


def _advantage(found: Sequence[Counts]) -> float:
    return round(float(np.mean([each.hits / each.members - each.false_alarms / each.controls for each in found])), 4)


def _targets(found: Found) -> Iterator[Target]:
    rows = {key: _row(key, each) for key, each in found.items()}
    caught = rows[RESAMPLED, None, FAR]["told from tables without"] / len(found[RESAMPLED, None, FAR])
    yield Target(
        name=f"{RESAMPLED}: share of records far out that are told", value=caught, target=0.8, sense="at least"
    )
    free = [each for who in (FAR, ORDINARY) for one in found[ANYBODY, None, who] for each in one.values()]
    alarms = float(np.mean([clopper_pearson.epsilon(each, MISS) > 0 for each in free]))
    limit = MISS + 2 * math.sqrt(MISS * (1 - MISS) / len(free))
    yield Target(
        name=f"{ANYBODY}: share of bounds at 95 % above 0",
        value=round(alarms, 4),
        target=round(limit, 4),
        sense="at most",
    )
    over = [row["largest epsilon refuted"] - key[1] for key, row in rows.items() if key[1] is not None]
    if over:
        yield Target(
            name="with DP: largest epsilon refuted, less epsilon",
            value=round(max(over), 3),
            target=0.0,
            sense="at most",
        )


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
