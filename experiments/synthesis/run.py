"""Generators of bulk RNA-seq side by side: TCGA-BRCA, PAM50, all 909 genes, hospitals as sites.

Ten patient splits (a fifth to test on; everything is fitted on the others), ε from .25 to 10, δ = 1e-4, 870
synthetic rows: the library's methods, the published recipe as published (quartiles and bin means unpaid) and with
everything paid, WGAN-GP with DP; beside them, without privacy, ceilings and rivals. Five folds at ε = 10 and without
privacy, as in the CAMDA 2026 protocol. WGAN-GP takes minutes a run, CTGAN (where installed) ten and more: two splits,
one split; no folds.
"chosen" is the method that ``chosen.py`` fixed for each ε on other splits, by accuracy; co-expression is promised of
the one that it fixed for that.
The library's methods run in this process on exact sums with the accountant's noise (``distributed`` with no party
colluding; t = 1 at one ε); of each, one cell runs with all roles, 40 site agents and three party processes, must give
the same bytes as its replay, and stands in the table.
Run: ``python -m experiments.synthesis.run --cache FOLDER`` (hours; what is in the folder is not run again, and several
processes may fill it; ``--methods "factors;class MVN"``, ``--splits 0,1`` run parts and write no results;
``--quick``: two splits at ε = 10, few methods).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import harness, replay
from experiments.harness import Result, Target
from experiments.synthesis import arms, chosen, federation, judge, loop, study
from experiments.synthesis.arms import MAJORITY, PAID, UNPAID, Arm
from experiments.synthesis.cells import Cache, Cell
from experiments.synthesis.judge import MAIN, PRECISION, RATE, RECALL, Figures
from experiments.synthesis.study import DELTA, EPSILONS, FOLD, HALF, REAL, Say

COHORT = "tcga_brca"
SPLITS = tuple(str(seed) for seed in range(10))
FOLDS = tuple(f"{FOLD}{k}" for k in range(5))
COLLUDING = 5.0  # ε at which t = 1 stands beside t = 0
WHOLE = 10.0  # ε of the cells with all roles, and of the folds
FEW_EPSILONS = (1.0, WHOLE)  # of arms that take minutes a run
DRAWS = 5  # of noise, that a run with all roles is compared with
QUICK = ("gaussian, diagonal", "factors", PAID, MAJORITY)

Scores = dict[tuple[str, float | None], dict[str, Figures]]  # (arm, ε) → split → figures


def measure(
    quick: bool, say: Say, cache: str | None = None, methods: str | None = None, splits: str | None = None
) -> Result:
    """Fill the table, or the asked part of it, and judge the promises."""
    kept = Cache.load(Path(cache) if cache else None)
    every, part = arms.every(arms.LOG), bool(methods or splits)
    names = methods.split(";") if methods else list(QUICK if quick else every)
    chosen_splits = splits.split(",") if splits else list(SPLITS[:2] if quick else SPLITS)
    used = {name: every[name] for name in names}
    scores = _scores(kept, used, chosen_splits, (WHOLE,) if quick else EPSILONS, say)
    rows = [_row(*key, list(found.values())) for key, found in scores.items()]
    if quick:
        return Result(rows=rows, targets=list(_accuracies(scores, (WHOLE,))), whole=False)
    rows += _folds(kept, used, say) if not splits else []
    if part:
        return Result(rows=rows, targets=(), whole=False)
    check, targets = _with_all_roles(kept, used, say)
    return Result(rows=rows + check, targets=[*_targets(scores), *targets])


def _scores(kept: Cache, used: Mapping[str, Arm], splits: Sequence[str], epsilons: Sequence[float], say: Say) -> Scores:
    """Run split by split, so that what a killed run leaves is whole splits."""
    scores: Scores = {}
    for split in splits:
        for name, found in zip((REAL, HALF), study.real(kept, COHORT, split), strict=True):
            scores.setdefault((name, None), {})[split] = found
        for name, arm in used.items():
            if arm.few and split not in SPLITS[: arm.few]:
                continue
            for epsilon in _prices(arm, epsilons):
                found = study.figures(kept, COHORT, name, arm, epsilon, split, say)
                scores.setdefault((name, epsilon), {})[split] = found
            if arm.kind and COLLUDING in epsilons:
                other = f"{name}, t = 1"
                found = study.figures(kept, COHORT, other, arms.ours(arm.kind, 1), COLLUDING, split, say)
                scores.setdefault((other, COLLUDING), {})[split] = found
    return scores


def _prices(arm: Arm, epsilons: Sequence[float]) -> list[float | None]:
    asked = [one for one in epsilons if not arm.few or one in FEW_EPSILONS]
    return [*(asked if arm.private else ()), *((None,) if arm.ceiling else ())]


def _folds(kept: Cache, used: Mapping[str, Arm], say: Say) -> list[dict[str, Any]]:
    """Return rows of five folds, at one ε and without privacy."""
    rows = [_row(f"{REAL}, five folds", None, [study.real(kept, COHORT, fold)[0] for fold in FOLDS])]
    for name, arm in ((name, arm) for name, arm in used.items() if not arm.few):
        for epsilon in _prices(arm, (WHOLE,)):
            found = [study.figures(kept, COHORT, name, arm, epsilon, fold, say) for fold in FOLDS]
            rows.append(_row(f"{name}, five folds", epsilon, found))
    return rows


def _row(name: str, epsilon: float | None, found: Sequence[Figures]) -> dict[str, Any]:
    accuracy = [value for one in found if (value := one[MAIN]) is not None]
    low, high = judge.interval(accuracy)
    means = {figure: judge.mean(found, figure) for figure in (*judge.NAMES.values(), "CPU seconds")}
    told = {"fitted": name, "epsilon": "none" if epsilon is None else f"{epsilon:g}", "splits": len(found)}
    ends = {} if len(accuracy) < 2 else {"95 % low": round(low, 4), "95 % high": round(high, 4)}
    return told | {MAIN: None} | ends | {k: None if v is None else round(v, 4) for k, v in means.items()}


def _targets(scores: Scores) -> Iterator[Target]:
    yield from _accuracies(scores, EPSILONS)
    best, sharing = scores[chosen.at(10.0), 10.0], scores[chosen.SHARING, 10.0]
    differences = _differences(scores[REAL, None], best)
    name = "real data minus chosen, epsilon 10: mean paired difference of accuracy"
    yield Target(name=name, value=float(np.mean(differences)), target=0.03, sense="at most")
    for figure, least in ((RECALL, 0.25), (PRECISION, 0.5)):
        value = judge.mean(sharing.values(), figure) or 0.0
        yield Target(name=f"{chosen.SHARING}, epsilon 10: {figure}", value=value, target=least, sense="at least")
    five = scores[chosen.SHARING, 5.0].values()
    ratio = (judge.mean(five, PRECISION) or 0.0) / (judge.mean(five, RATE) or 1.0)
    name = f"{chosen.SHARING}, epsilon 5: co-expression precision over the base rate"
    yield Target(name=name, value=ratio, target=5.0, sense="at least")


def _accuracies(scores: Scores, epsilons: Sequence[float]) -> Iterator[Target]:
    """Yield the low end of chosen minus recipe from ε = 1 on; below, means of chosen minus recipe and majority."""
    for epsilon in epsilons:
        ours = scores[chosen.at(epsilon), epsilon]
        for other in (PAID,) if epsilon >= 1 else (PAID, MAJORITY):
            differences = _differences(ours, scores[other, epsilon])
            low, mean = judge.interval(differences)[0], float(np.mean(differences))
            what, value = ("95 % low", low) if epsilon >= 1 else ("mean", mean)
            name = f"chosen minus {other}, epsilon {epsilon:g}: {what} of the paired difference of accuracy"
            yield Target(name=name, value=value, target=0.0, sense="at least")


def _differences(one: Mapping[str, Figures], other: Mapping[str, Figures]) -> list[float]:
    return [(one[split][MAIN] or 0.0) - (other[split][MAIN] or 0.0) for split in one]


def _with_all_roles(kept: Cache, used: Mapping[str, Arm], say: Say) -> tuple[list[dict[str, Any]], list[Target]]:
    """Return, for each of the library's methods, the row of one run with all roles, and its two promises."""
    rows, targets = [], []
    for name, arm in used.items():
        if arm.kind is None:
            continue
        found = kept.get(
            Cell(cohort=COHORT, arm=f"{name}, all roles", made=arm.made, epsilon=WHOLE, split=SPLITS[0]),
            _all_roles(arm.kind, f"{name}: the whole federation", say),
        )
        draws = [study.figures(kept, COHORT, name, arm, WHOLE, SPLITS[0], say, draw) for draw in range(DRAWS)]
        rows += [_row(f"{name}, split 0, all roles", WHOLE, [found]), _row(f"{name}, split 0, draws", WHOLE, draws)]
        what = f"{name}, epsilon {WHOLE:g}, all roles"
        off = abs((found[MAIN] or 0.0) - (judge.mean(draws, MAIN) or 0.0))
        same = found["same bytes"] or 0.0
        targets += [
            Target(name=f"{what}: 1 if its bytes are the replay's", value=same, target=1.0, sense="at least"),
            Target(name=f"{what}: accuracy off the mean of central draws", value=off, target=0.05, sense="at most"),
        ]
    return rows, targets


def _all_roles(kind: loop.Kind, what: str, say: Say) -> Callable[[], Figures]:
    def run() -> Figures:
        say(what)
        ready = federation.prepared(COHORT, kind, WHOLE, int(SPLITS[0]), DELTA)
        seed = study.seed_of(SPLITS[0])
        told, again = federation.run(ready, seed).arrays, replay.replayed(ready, seed)[kind.kind]
        same = all(told[name].tobytes() == array.tobytes() for name, array in again.items())
        here = study.dealt(COHORT, SPLITS[0])
        table = loop.table(ready.methods[kind.kind], told, here.facts.rows, seed)
        return judge.judged(table, here.test, here.truth) | {"same bytes": float(same)}

    return run


FLAGS = {
    "cache": "folder where results are kept",
    "methods": f"arms to run, divided by ';' (all: also {UNPAID!r}, …); writes no results",
    "splits": "splits to run, divided by ','; writes no results",
}

if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, FLAGS)
