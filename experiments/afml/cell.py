"""One arm under one seed: which, and what came of it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from experiments.afml import arms, gated, worlds
from experiments.afml.panels import FOLDS, Data
from experiments.afml.worlds import Figures

GATE = "gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Which run.

    Attributes:
        arm: Of :data:`experiments.afml.arms.ARMS`, or ``GATE``.
        seed: Below ``FOLDS``: who is judged, and the phenotype.
        data: Real panels or made ones.
    """

    arm: str
    seed: int
    data: Data = "real"

    @property
    def key(self) -> str:
        """The cell in one line, with what no cell may choose."""
        fixed = {
            "kept": arms.KEPT,
            "folds": FOLDS,
            "causal": worlds.CAUSAL,
            "heritability": worlds.HERITABILITY,
            "learning": worlds.LEARNING[self.data],
        }
        return json.dumps(asdict(self) | fixed, sort_keys=True)


def run(cell: Cell) -> Figures:
    """Return how many are linked, how many candidates there are, and the arm's points; or the gate's verdicts."""
    began = time.process_time()
    at = worlds.world(cell.data, cell.seed)
    if cell.arm == GATE:
        verdicts = list(gated.verdicts(at))
        return {"verdicts": verdicts, "CPU seconds": round(time.process_time() - began, 1)}
    points = dict(arms.ARMS[cell.arm](at))
    return {
        "linked": int((at.sides.owner >= 0).sum()),
        "candidates": len(at.sides.candidates),
        "judged": len(at.sides.judged),
        "points": points,
        "CPU seconds": round(time.process_time() - began, 1),
    }
