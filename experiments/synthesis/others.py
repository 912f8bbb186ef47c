"""The chosen generators on other cohorts: CAMDA, METABRIC, three breast studies, T cells, a negative control.

ε = 1, 5, 10; what is public of each cohort is in ``cohorts.py``. T cells stand twice: with donors as units (seven
people: near chance is expected) and "rows", where a unit is a cell, not a person. The autism cohort's labels are at
chance: a generator that does better there shows a fault of the experiment. δ is 1e-4, or a tenth of one over the
public bound where that is less.
Run: ``python -m experiments.synthesis.others --cache FOLDER`` (``--quick``: two cohorts, one split, ε = 10;
``--names metabric,autism`` runs parts and writes no results).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import harness
from experiments.harness import Result, Target
from experiments.synthesis import arms, chosen, cohorts, judge, study
from experiments.synthesis.arms import MAJORITY, PAID, Arm
from experiments.synthesis.cells import Cache
from experiments.synthesis.judge import MAIN, Figures
from fedgenome.methods.gaussian import MOST_GENES

EPSILONS = (1.0, 5.0, 10.0)
SPLITS = tuple(str(seed) for seed in range(10))
FEW = ("tcells", "tcells_rows")  # large files: two splits
CONTROL = "autism"

GUESSES: Mapping[str, Mapping[str, float]] = {  # public: how laboratories write such data
    "camda_sample": arms.LOG,
    "metabric": {"middle": 0.0, "radius": 12.0, "spread": 1.0},
    "breast_sites": {"middle": 0.0, "radius": 16.0, "spread": 1.0},
    "breast_sites_native": {"middle": 4.0, "radius": 80.0, "spread": 1.5},
    "tcells": {"middle": 0.2, "radius": 25.0, "spread": 0.4},
    "tcells_rows": {"middle": 0.2, "radius": 25.0, "spread": 0.4},
    "autism": {"middle": 9.0, "radius": 70.0, "spread": 0.8},
}


def measure(quick: bool, say: Callable[[str], None], cache: str | None = None, names: str | None = None) -> Result:
    """Run the chosen methods, the paid recipe and the majority on every cohort that is there."""
    kept = Cache.load(Path(cache) if cache else None)
    wanted = names.split(",") if names else ["breast_sites", CONTROL] if quick else list(GUESSES)
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    for name in cohorts.present(wanted, say):
        splits = SPLITS[:1] if quick else SPLITS[:2] if name in FEW else SPLITS
        found = _scores(kept, name, splits, (10.0,) if quick else EPSILONS, say)
        rows += [_row(name, arm, epsilon, each) for (arm, epsilon), each in found.items()]
        targets += list(_at_chance(found)) if name == CONTROL and not quick else []
    return Result(rows=rows, targets=targets, whole=not quick and not names)


def _scores(
    kept: Cache, name: str, splits: Sequence[str], epsilons: Sequence[float], say: Callable[[str], None]
) -> dict[tuple[str, float | None], list[Figures]]:
    real = [study.real(kept, name, split) for split in splits]
    scores: dict[tuple[str, float | None], list[Figures]] = {
        (study.REAL, None): [one for one, _ in real],
        (study.HALF, None): [two for _, two in real],
        (MAJORITY, None): [_run(kept, name, MAJORITY, None, split, say) for split in splits],
    }
    for epsilon in epsilons:
        for label in (*_methods(name, epsilon), PAID, MAJORITY):
            scores[label, epsilon] = [_run(kept, name, label, epsilon, split, say) for split in splits]
    return scores


def _run(kept: Cache, name: str, label: str, epsilon: float | None, split: str, say: Callable[[str], None]) -> Figures:
    arm: Arm = arms.every(GUESSES[name])[label]
    return study.figures(kept, name, label, arm, epsilon, split, say)


def _methods(name: str, epsilon: float) -> tuple[str, ...]:
    """Return the chosen method and the one for co-expression; factors where genes are too many for it."""
    wide = len(study.facts_of(name).schema.genes) > MOST_GENES
    wanted = dict.fromkeys((chosen.at(epsilon), chosen.SHARING))
    return tuple("factors" if wide and label == "gaussian, low rank" else label for label in wanted)


def _row(name: str, arm: str, epsilon: float | None, found: Sequence[Figures]) -> dict[str, Any]:
    price = "none" if epsilon is None else f"{epsilon:g}"
    low, high = judge.interval([value for one in found if (value := one[MAIN]) is not None])
    ends = {"95 % low": round(low, 4), "95 % high": round(high, 4)} if np.isfinite(low) else {}
    means = {figure: judge.mean(found, figure) for figure in judge.NAMES.values()}
    said = {figure: None if value is None else round(value, 4) for figure, value in means.items()}
    return {"cohort": name, "unit": _unit(name), "fitted": arm, "epsilon": price, "splits": len(found)} | said | ends


def _unit(name: str) -> str:
    return "row" if name == "tcells_rows" else "donor"


def _at_chance(scores: Mapping[tuple[str, float | None], Sequence[Figures]]) -> Iterator[Target]:
    """Yield, for each table of the negative control, how far above .5 and the majority its interval begins."""
    chance = max(0.5, judge.mean(scores[MAJORITY, None], MAIN) or 0.0)
    for (arm, epsilon), found in scores.items():
        if epsilon is not None and arm != MAJORITY:
            low, _ = judge.interval([one[MAIN] or 0.0 for one in found])
            name = f"{CONTROL}, {arm}, epsilon {epsilon:g}: low end of accuracy over chance"
            yield Target(name=name, value=low - chance, target=0.0, sense="at most")


FLAGS = {"cache": "folder where results are kept", "names": "cohorts to run, divided by ','; writes no results"}

if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, FLAGS)
