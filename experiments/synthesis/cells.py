"""Results of single runs, kept as they come: hours can be run in pieces, by several processes, and killed.

A folder of files of JSON lines, one file a process; what is there is not run again. A last line that a killed process
left half written is no result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.synthesis.judge import Figures


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """Cells that were run.

    Attributes:
        folder: Where they are kept; None: nowhere.
        known: Figures by the cell's key.
    """

    folder: Path | None
    known: dict[str, Figures] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | None) -> Cache:
        """Return what ``folder`` holds; it need not exist yet."""
        cache = cls(folder=folder)
        for path in sorted(folder.glob("cells-*.jsonl")) if folder and folder.is_dir() else ():
            whole = path.read_text().rpartition("\n")[0]
            for line in whole.splitlines():
                record: Mapping[str, Any] = json.loads(line)
                cache.known[record["cell"]] = record["figures"]
        return cache

    def get(self, cell: Cell, run: Callable[[], Figures]) -> Figures:
        """Return the cell's figures, run now if they are not known."""
        if cell.key not in self.known:
            figures = run()
            self.known[cell.key] = figures
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                with (self.folder / f"cells-{os.getpid()}.jsonl").open("a") as out:
                    out.write(json.dumps({"cell": cell.key, "figures": figures}) + "\n")
        return self.known[cell.key]
