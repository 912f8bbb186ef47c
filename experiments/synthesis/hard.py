"""Hard federations on TCGA-BRCA: does it matter how patients are spread over hospitals, and does anything fail?

The chosen method with every role (site agents, three party processes), on the same training and test patients each
time: five hospitals alike; 40 of very different size; one class at one hospital; one class a hospital; hospitals of
five donors; a tenth of the genes missing at one hospital; a hospital that is lost after its second answer,
with a quorum that allows for it.
Run: ``python -m experiments.synthesis.hard --cache FOLDER`` (``--quick``: two of them, one split, ε = 10).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments import harness
from experiments.harness import Result, Target
from experiments.synthesis import arms, chosen, cohorts, federation, judge, loop, study
from experiments.synthesis.cells import Cache, Cell
from experiments.synthesis.judge import MAIN, Figures
from experiments.synthesis.run import COHORT
from fedgenome.audit.targets import people
from fedgenome.errors import FedgenomeError
from fedgenome.prepare import Prepared

EPSILONS = (1.0, 10.0)
SPLITS = tuple(str(seed) for seed in range(5))
SLACK = 0.03  # accuracy that a hard federation may cost
FILL = 7.5  # public value in place of a gene that a hospital did not measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One way to spread patients.

    Attributes:
        deals: Fields of the split.
        lacking: Share of the genes that the first site lacks.
        lost: Whether the last site is lost after the second question.
    """

    deals: Mapping[str, Any] = field(default_factory=lambda: {"by": "even", "sites": 5})
    lacking: float = 0.0
    lost: bool = False


SENT = "megabytes sent by all"  # less where a hospital is lost
IID = "five hospitals alike"
SETTINGS: Mapping[str, Setting] = {
    IID: Setting(),
    "40 hospitals of very different size": Setting(deals={"by": "power", "sites": 40, "exponent": 1.5}),
    "one class at one hospital only": Setting(deals={"by": "even", "sites": 5, "lone": "Basal"}),
    "one class a hospital": Setting(deals={"by": "class", "sites": 5}),
    "hospitals of five donors": Setting(deals={"by": "even", "sites": 173}),
    "a tenth of the genes missing at one": Setting(lacking=0.1),
    "a hospital lost on the way": Setting(lost=True),
}


def measure(quick: bool, say: Callable[[str], None], cache: str | None = None) -> Result:
    """Run every setting at every ε on every split."""
    kept = Cache.load(Path(cache) if cache else None)
    names = [IID, "a hospital lost on the way"] if quick else list(SETTINGS)
    splits, epsilons = (SPLITS[:1], EPSILONS[1:]) if quick else (SPLITS, EPSILONS)
    rows, targets, failed = [], [], 0
    for epsilon in epsilons:
        found = {name: [_figures(kept, name, epsilon, split, say) for split in splits] for name in names}
        failed += sum(one[MAIN] is None for each in found.values() for one in each)
        rows += [_row(name, epsilon, each, found[IID]) for name, each in found.items()]
        targets += [
            Target(name=f"{row['federation']}, epsilon {epsilon:g}: accuracy below {IID}, mean", value=row["below"],
                   target=SLACK, sense="at most")
            for row in rows[-len(names) :]
            if row["federation"] != IID
        ]  # fmt: skip
    targets.append(Target(name="runs that failed", value=failed, target=0, sense="at most"))
    return Result(rows=rows, targets=targets, whole=not quick)


def _figures(kept: Cache, name: str, epsilon: float, split: str, say: Callable[[str], None]) -> Figures:
    arm = arms.methods(arms.LOG)[chosen.at(epsilon)]
    cell = Cell(cohort=COHORT, arm=f"hard: {name}", made=f"{SETTINGS[name]} {arm.made}", epsilon=epsilon, split=split)

    def run() -> Figures:
        say(f"{name}, epsilon {epsilon:g}, split {split}")
        if arm.kind is None:
            raise TypeError(f"{chosen.at(epsilon)} is no method of the library")
        try:
            return _judged(SETTINGS[name], arm.kind, epsilon, int(split))
        except FedgenomeError as fault:
            say(f"failed: {fault}")
            return {MAIN: None}

    return kept.get(cell, run)


def _judged(setting: Setting, kind: loop.Kind, epsilon: float, split: int) -> Figures:
    ready = _ready(setting, kind, epsilon, split)
    lost = list(ready.split.sites)[-1] if setting.lost else None
    seed = study.seed_of(str(split))
    done = federation.run(ready, seed, lost)
    table = loop.table(ready.methods[kind.kind], done.arrays, study.ROWS, seed)
    # The truth is what all hospitals hold, with every gene and with the one that is lost.
    whole = _ready(replace(setting, lacking=0.0), kind, epsilon, split).split if setting.lacking else ready.split
    judged = judge.judged(table, people(whole.controls), people(whole.members))
    return judged | {SENT: done.uploaded / 1e6}


def _ready(setting: Setting, kind: loop.Kind, epsilon: float, split: int) -> Prepared:
    sites = int(setting.deals["sites"])
    quorum = sites - 1 if setting.lost else None
    ready = federation.prepared(COHORT, kind, epsilon, split, study.DELTA, quorum=quorum, **setting.deals)
    if not setting.lacking:
        return ready
    genes = ready.split.genes[: round(setting.lacking * len(ready.split.genes))]
    first = next(iter(ready.split.sites))
    return replace(ready, split=cohorts.lacking(ready.split, first, genes, FILL))


def _row(name: str, epsilon: float, found: Sequence[Figures], iid: Sequence[Figures]) -> dict[str, Any]:
    accuracy = [value for one in found if (value := one[MAIN]) is not None]
    below = [
        a - b for one, other in zip(found, iid, strict=True) if (b := one[MAIN]) is not None and (a := other[MAIN])
    ]
    return {
        "federation": name,
        "epsilon": f"{epsilon:g}",
        "method": chosen.at(epsilon),
        "splits": len(found),
        "failed": len(found) - len(accuracy),
        MAIN: float(np.mean(accuracy)) if accuracy else None,
        SENT: judge.mean(found, SENT),
        "below": float(np.mean(below)) if below else 1.0,
    }


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, {"cache": "folder where results are kept"})
