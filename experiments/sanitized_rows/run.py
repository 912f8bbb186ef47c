"""Sanitized rows: how far they lie from their originals (Figure 2), who is recognised, and what other bases would keep.

Distances and linkage: 5 tables of noise a cell; ε is a unit of distance, in the public range unless the scale says
otherwise. "Linked" is the share of people whose sanitized row is nearest to their own original, among all originals of
the cohort: by whole rows, by the K kept coefficients, and by likelihood where noise has a norm of its own; a bracket is
a 95 % interval over people. "AUC, nearest" and "ratio" attack a table of half of the people: who is in it, by the
nearest sanitized row and by the likelihood ratio. Truncation and noise are orthogonal. Bases: public components are of
half of the same cohort; accuracy is a ridge classifier's of the other half's sanitized rows, on rows as they are.
Run: ``python -m experiments.sanitized_rows.run --cache FOLDER`` (40 minutes, most for 20,000 genes; what is in the
folder is not run again; ``--quick``: few made people).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments import harness
from experiments.cells import Cache
from experiments.deeptype import people
from experiments.harness import Result
from experiments.sanitized_rows import components, distances

SEEDS = range(5)
_SMALL = 60, 1000  # genes and people of the quick form


def measure(quick: bool, say: Callable[[str], None], cache: str | None = None) -> Result:
    """Measure every cohort, in parts that are kept."""
    kept: Cache[dict[str, Any]] = Cache.load(Path(cache) if cache else None)
    if quick:
        far = distances.measured(people.simulated(*_SMALL), SEEDS[:3], say, kept)
        return Result(rows=far, targets=distances.targets(far))
    far = [row for name in people.COHORTS for row in distances.measure_distances(name, SEEDS, say, kept)]
    based = [row for name in people.COHORTS for row in components.measure_bases(name, SEEDS, say, kept)]
    return Result(rows=[*far, *based], targets=[*distances.targets(far), *components.targets(based)])


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, {"cache": "folder where results are kept"})
