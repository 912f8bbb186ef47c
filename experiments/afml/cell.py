"""One arm under one seed: which, and what came of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass

from experiments.afml import arms, federation, gated, worlds
from experiments.afml.frontier import Row
from experiments.afml.panels import FOLDS, Data
from experiments.afml.worlds import Figures, World

GATE, FEDERATED = "gate", "federated"
ROWS: Mapping[str, Callable[[World], Iterator[Row]]] = {GATE: gated.verdicts, FEDERATED: federation.alike}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Which run.

    Attributes:
        arm: Of :data:`experiments.afml.arms.ARMS`, or of ``ROWS``.
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
    """Return how many are linked, how many candidates there are, and the arm's points; or rows of a table."""
    began = time.process_time()
    at = worlds.world(cell.data, cell.seed)
    if cell.arm in ROWS:
        return {"rows": list(ROWS[cell.arm](at)), "CPU seconds": round(time.process_time() - began, 1)}
    points = dict(arms.ARMS[cell.arm](at))
    return {
        "linked": int((at.sides.owner >= 0).sum()),
        "candidates": len(at.sides.candidates),
        "judged": len(at.sides.judged),
        "points": points,
        "CPU seconds": round(time.process_time() - began, 1),
    }
