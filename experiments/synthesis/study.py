"""One cohort's splits, and each arm's figures on them: what all tables on synthesis are filled from."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from experiments.synthesis import arms, cohorts, judge
from experiments.synthesis.arms import Arm
from experiments.synthesis.cells import Cache, Cell
from experiments.synthesis.judge import Figures
from experiments.synthesis.loop import Facts
from fedgenome.audit.targets import Records, people
from fedgenome.cohort import expression
from fedgenome.cohort.shard import Cohort, Shard

EPSILONS = (0.25, 0.5, 1.0, 2.0, 5.0, 7.0, 10.0)
DELTA = 1e-4
ROWS = 870  # synthetic rows, about as many as there are people in training
FOLD = "fold "  # of five, in a split's name: the CAMDA 2026 protocol
_MOST = 3000  # real rows that a classifier or a comparison takes
REAL, HALF = "real data", "real, half against half"
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dealt:
    """One split.

    Attributes:
        members: Everybody in training, all sites together.
        test: People kept apart.
        facts: What is public.
    """

    members: Shard
    test: Records
    facts: Facts

    @property
    def truth(self) -> Records:
        """The training rows: what a generator is to imitate."""
        return _some(people(self.members))


@functools.lru_cache(maxsize=1)
def _cohort(name: str) -> Cohort:
    return cohorts.read(name)


@functools.lru_cache(maxsize=1)
def facts_of(name: str) -> Facts:
    """Return what is public of a cohort."""
    bound = cohorts.SOURCES[name].donors_bound
    schema = expression.schema_of(_cohort(name), cohorts.spec(name))
    return Facts(schema=schema, donors_bound=bound, delta=min(DELTA, 1 / (10 * bound)), rows=ROWS)


@functools.lru_cache(maxsize=2)
def dealt(name: str, split: str) -> Dealt:
    """Return a split: a seed's fifth of the donors apart, or one of five folds."""
    if split.startswith(FOLD):
        members, controls = list(cohorts.folds(_cohort(name), 0))[int(split.removeprefix(FOLD))]
    else:
        deal = cohorts.dealt(_cohort(name), name, int(split))
        members, controls = deal.members, deal.controls
    return Dealt(members=members, test=_some(people(controls)), facts=facts_of(name))


def _some(rows: Records) -> Records:
    """Return at most some thousand rows, evenly taken."""
    return rows if len(rows) <= _MOST else rows.rows(np.linspace(0, len(rows) - 1, _MOST).astype(int))


def seed_of(split: str) -> int:
    """Return the seed of a split's noise and draws."""
    return 10_000 + int(split.removeprefix(FOLD)) + 5000 * split.startswith(FOLD)


def figures(
    cache: Cache, name: str, label: str, arm: Arm, epsilon: float | None, split: str, say: Say, draw: int = 0
) -> Figures:
    """Return the figures of ``arm`` on one split.

    Args:
        label: The arm's name in tables.
        draw: Which of several runs that differ by their noise.
    """
    cell = Cell(cohort=name, arm=f"{label} #{draw}" if draw else label, made=arm.made, epsilon=epsilon, split=split)

    def run() -> Figures:
        clock, cpu = time.perf_counter(), time.process_time()
        here = dealt(name, split)
        made = arm.run(here.members, here.facts, epsilon, seed_of(split) + 100_000 * draw)
        spent = {"CPU seconds": time.process_time() - cpu, "seconds": time.perf_counter() - clock}
        say(f"{name} {label}, epsilon {epsilon}, split {split}: {spent['seconds']:.1f} s")
        if label == arms.MAJORITY:
            return judge.told(int(made.label[0]), here.test)
        return judge.judged(made, here.test, here.truth) | spent

    return cache.get(cell, run)


def real(cache: Cache, name: str, split: str) -> tuple[Figures, Figures]:
    """Return the figures of the training rows themselves, and of one half of them against the other.

    Compared with themselves rows are perfect: the first has the classifiers' figures only.
    """

    def whole() -> Figures:
        here = dealt(name, split)
        found = judge.judged(here.truth, here.test, here.truth)
        return {figure: value for figure, value in found.items() if "accuracy" in figure or figure == "macro-F1"}

    def half() -> Figures:
        here = dealt(name, split)
        rng = np.random.default_rng([seed_of(split), 7])
        first = np.isin(here.truth.owner, rng.permutation(here.truth.units)[: len(here.truth.units) // 2])
        return judge.judged(here.truth.rows(first), here.test, here.truth.rows(~first))

    cells = (Cell(cohort=name, arm=arm, made="1", epsilon=None, split=split) for arm in (REAL, HALF))
    one, two = (cache.get(cell, run) for cell, run in zip(cells, (whole, half), strict=True))
    return one, two
