"""What language models of DNA memorize: by repetition, architecture, capacity, epochs and regime.

Run: ``python -m experiments.memorization.run --cache FOLDER`` (hours; ``--only "small;tuned"`` runs parts).
"""

from __future__ import annotations

from pathlib import Path

from experiments import cells, harness
from experiments.harness import Result
from experiments.memorization import cell, grid
from experiments.memorization.cell import Figures


def measure(quick: bool, say, cache: str | None = None, only: str | None = None) -> Result:
    kept: cells.Cache[Figures] = cells.Cache.load(Path(cache) if cache else None)
    parts = only.split(";") if only else list(grid.PARTS)
    for part in parts:
        for one in grid.PARTS[part]:
            if one.key not in kept.known:
                say(one.name)
            kept.get(one, lambda one=one: cell.run(one))
    return Result(rows=[], targets=[], whole=False)


FLAGS = {"cache": "folder where results are kept", "only": "parts"}
if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, FLAGS)
