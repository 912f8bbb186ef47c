"""Which runs the tables on synthesis are made of (:mod:`experiments.cells` keeps what they found)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from experiments import cells
from experiments.synthesis.judge import Figures

Cache = cells.Cache[Figures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Which run.

    Attributes:
        cohort: Of which cohort.
        arm: What made the table.
        made: With which options: others are another cell.
        epsilon: Its price; None: no privacy, or nothing is paid.
        split: Which split of the cohort.
    """

    cohort: str
    arm: str
    made: str
    epsilon: float | None
    split: str

    @property
    def key(self) -> str:
        """The cell in one line."""
        return json.dumps([self.cohort, self.arm, self.made, self.epsilon, self.split])
