"""Results of single runs, kept as they come: hours can be run in pieces, by several processes, and killed.

A folder of files of JSON lines, one file a process; what is there is not run again. A last line that a killed process
left half written is no result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

Figures = TypeVar("Figures")  # what a run found: plain JSON values


class Keyed(Protocol):
    """Which run."""

    @property
    def key(self) -> str:
        """Every setting that its result depends on, in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache(Generic[Figures]):
    """Cells that were run.

    Attributes:
        folder: Where they are kept; None: nowhere.
        known: Figures by the cell's key.
    """

    folder: Path | None
    known: dict[str, Figures] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path | None) -> Cache[Figures]:
        """Return what ``folder`` holds; it need not exist yet."""
        cache = cls(folder=folder)
        for path in sorted(folder.glob("cells-*.jsonl")) if folder and folder.is_dir() else ():
            whole = path.read_text().rpartition("\n")[0]
            for line in whole.splitlines():
                record = json.loads(line)
                cache.known[record["cell"]] = record["figures"]
        return cache

    def get(self, cell: Keyed, run: Callable[[], Figures]) -> Figures:
        """Return the cell's figures, run now if they are not known."""
        if cell.key not in self.known:
            figures = run()
            self.known[cell.key] = figures
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                with (self.folder / f"cells-{os.getpid()}.jsonl").open("a") as out:
                    out.write(json.dumps({"cell": cell.key, "figures": figures}) + "\n")
        return self.known[cell.key]
