"""DP-SGD tuned, over TCGA-BRCA's real hospitals: the protocol's own integers, with the noise where trust puts it.

Forty hospitals as sites; a fifth of the patients are left out by chance. One trusted server (exact sums, noise in
floating point) beside ``distributed`` noise of three parties with t = 0 and 1 colluding, and ``local`` noise that every
hospital adds at home. Options are those tuned for one trusted server. At ε = 10 with t = 0 the library refuses the
study: two who collude would see ε = 28, at which too little of δ is left for the noise. It is one split, a check of
what the protocol computes and no comparison: chance moves an accuracy by three points there.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from experiments import replay
from experiments.cells import Cache
from experiments.deeptype import learned, tuned
from experiments.deeptype.people import TCGA
from experiments.synthesis import cohorts, loop
from fedgenome.experiment import Experiment
from fedgenome.methods.base import Classifier
from fedgenome.prepare import prepare
from fedgenome.streams import Root

EPSILONS = (3.0,)
SPLIT = 0
CAP = 150  # public bound on the patients of a hospital

Row = dict[str, Any]
Figures = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arm.

    Attributes:
        arm: Of :data:`ARMS`.
        epsilon: What it costs a patient.
    """

    arm: str
    epsilon: float

    @property
    def key(self) -> str:
        """The cell in one line."""
        fixed = {"options": tuned.CHOSEN[TCGA][self.epsilon], "split": SPLIT, "delta": learned.DELTA}
        return json.dumps({"hospitals": asdict(self) | fixed}, sort_keys=True)


CENTRAL = "one trusted server"
ARMS: Mapping[str, Mapping[str, Any]] = {
    CENTRAL: {"trust": "distributed", "colluders": 0},
    "distributed, t = 0": {"trust": "distributed", "colluders": 0},
    "distributed, t = 1": {"trust": "distributed", "colluders": 1},
    "local": {"trust": "local"},
}


def rows(say: Say, kept: Cache[Figures]) -> Iterator[Row]:
    """Yield a line an arm and ε."""
    for epsilon in EPSILONS:
        for arm in ARMS:
            cell = Cell(arm=arm, epsilon=epsilon)
            if cell.key not in kept.known:
                say(f"{TCGA}: hospitals, {arm}, epsilon {epsilon:g}")
            yield kept.get(cell, functools.partial(run, cell))["row"]


def run(cell: Cell) -> Figures:
    """Train, and ask about the patients left out."""
    prepared = prepare(experiment(cell), Root.simulation(SPLIT, "split").stream("split").generator())
    method, members, test = prepared.methods["deeptype"], prepared.split.members, prepared.split.controls
    if cell.arm == CENTRAL:
        arrays = loop.trained(method, members, SPLIT)
    else:
        arrays = replay.replayed(prepared, SPLIT)["deeptype"]
    accuracy = float(np.mean(cast(Classifier, method).predict(arrays, test.x) == test.label))
    majority = float(np.mean(test.label == np.bincount(members.label).argmax()))
    row = {"cohort": TCGA, "arm": f"{tuned.DEEPTYPE}, hospitals: {cell.arm}", "epsilon": cell.epsilon}
    options = json.dumps(tuned.CHOSEN[TCGA][cell.epsilon], sort_keys=True)
    row |= {"delta": learned.DELTA, "unit": "person", "options": options, "everything paid": "yes"}
    row |= {"seeds": 1, "sites": len(prepared.split.sites), "tested": test.n_donors}
    return {"row": row | {"accuracy": round(accuracy, 4), "majority": round(majority, 4)}}


def experiment(cell: Cell) -> Experiment:
    """Return the study of an arm."""
    private = {"epsilon": cell.epsilon, "delta": learned.DELTA, "retries": 0.0, **ARMS[cell.arm]}
    return Experiment.model_validate(
        {
            "name": "deeptype-hospitals",
            "cohort": cohorts.spec(TCGA),
            "split": {"by": "column", "controls": 0.2},
            "caps": {"site_cap": CAP, "donors_bound": learned.BOUNDS[TCGA]},
            "privacy": private,
            "methods": [{"kind": "deeptype", "options": tuned.CHOSEN[TCGA][cell.epsilon]}],
        }
    )
