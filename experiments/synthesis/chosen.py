"""Which method at which ε, fixed on patient splits that no reported figure comes from; and the command that fixes it.

``CHOSEN`` is what the tables call "chosen": for each ε the method of the library with the highest mean accuracy
(StandardScaler and logistic regression, C = 1) over the tuning splits of TCGA-BRCA. ``SHARING`` is the one whose
pairs of genes are found best. Both, and the bounds of the kind ``auto``, are read off what this command prints;
reported splits are 0 to 9.
Run: ``python -m experiments.synthesis.chosen --cache FOLDER``; it prints the table and writes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiments import harness
from experiments.harness import Result
from experiments.synthesis import arms, judge, study
from experiments.synthesis.arms import MAJORITY
from experiments.synthesis.cells import Cache
from experiments.synthesis.judge import PRECISION, RATE, RECALL
from experiments.synthesis.study import EPSILONS

TUNING = tuple(str(seed) for seed in range(1000, 1005))
SMALLER = (0.05, 0.1)  # ε at which less and less is learned: where ``auto`` begins to warn

CHOSEN: Mapping[float, str] = MappingProxyType(
    {
        0.25: "inverted",
        0.5: "inverted",
        1.0: "gaussian, diagonal",
        2.0: "gaussian, diagonal",
        5.0: "gaussian, low rank",
        7.0: "inverted",
        10.0: "inverted",
    }
)
SHARING = "gaussian, low rank"


def at(epsilon: float) -> str:
    """Return the method for ``epsilon``: that of the nearest price in the table."""
    return CHOSEN[min(CHOSEN, key=lambda one: (abs(one - epsilon), one))]


def measure(quick: bool, say: Callable[[str], None], cache: str | None = None) -> Result:
    """Run every method of the library, and the majority class, on the tuning splits."""
    kept = Cache.load(Path(cache) if cache else None)
    splits, epsilons = (TUNING[:1], (10.0,)) if quick else (TUNING, (*SMALLER, *EPSILONS))
    rows = [row for epsilon in epsilons for row in _rows(kept, epsilon, splits, say)]
    return Result(rows=rows, targets=(), whole=False)


def _rows(kept: Cache, epsilon: float, splits: tuple[str, ...], say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    used = {**arms.methods(arms.LOG), MAJORITY: arms.OTHERS[MAJORITY]}
    for name, arm in used.items():
        found = [study.figures(kept, "tcga_brca", name, arm, epsilon, split, say) for split in splits]
        means = {figure: judge.mean(found, figure) for figure in (judge.MAIN, RECALL, PRECISION, RATE)}
        told = {figure: None if value is None else round(value, 4) for figure, value in means.items()}
        yield {"epsilon": epsilon, "fitted": name} | told


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, {"cache": "folder where results are kept"})
