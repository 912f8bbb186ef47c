"""Which method at which ε, fixed on patient splits that no reported figure comes from; and the command that fixes it.

``CHOSEN`` is what the tables call "chosen": for each ε the method of the library with the highest mean accuracy
(StandardScaler and logistic regression, C = 1) over the tuning splits of TCGA-BRCA. Reported splits are 0 to 9.
Run: ``python -m experiments.synthesis.chosen --cache FOLDER``; it prints the table and writes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from experiments import harness
from experiments.harness import Result
from experiments.synthesis import arms, judge
from experiments.synthesis.cells import Cache
from experiments.synthesis.study import EPSILONS, tuned_on

TUNING = tuple(str(seed) for seed in range(1000, 1005))

CHOSEN: Mapping[float, str] = MappingProxyType(
    {
        0.25: "gaussian, diagonal",
        0.5: "gaussian, diagonal",
        1.0: "gaussian, low rank",
        2.0: "gaussian, low rank",
        5.0: "factors",
        7.0: "factors",
        10.0: "factors",
    }
)


def at(epsilon: float) -> str:
    """Return the method for ``epsilon``: that of the nearest price in the table."""
    return CHOSEN[min(CHOSEN, key=lambda one: (abs(one - epsilon), one))]


def measure(quick: bool, say: Callable[[str], None], cache: str | None = None) -> Result:
    """Run every method of the library on the tuning splits."""
    kept, rows = Cache.load(Path(cache) if cache else None), []
    splits, epsilons = (TUNING[:1], (10.0,)) if quick else (TUNING, EPSILONS)
    for epsilon in epsilons:
        found = {}
        for name in arms.methods(arms.LOG):
            figures = [tuned_on(kept, name, epsilon, split, say) for split in splits]
            found[name] = judge.mean(figures, judge.MAIN) or 0.0
        best = max(found, key=lambda name: found[name])
        rows.append({"epsilon": epsilon, "best": best, "chosen": at(epsilon)} | found)
    return Result(rows=rows, targets=(), whole=False)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, {"cache": "folder where results are kept"})
