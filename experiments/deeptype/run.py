"""Subtype classifiers of cancers, by DP-SGD, from sanitized rows, from synthetic rows: how right, and who is told.

DeepType (256 and 128 hidden units) on TCGA-BRCA (909 genes), METABRIC (79 genes) and a simulated cohort in METABRIC's
shape (1,000 genes). Five models leave out a fifth of the people each: accuracy is on those, "sd" is over the five, and
members and controls of the attacks are the five's. Attacks and their thresholds are chosen on other groups of five
models, which are also the shadows. Ends of intervals are 95 %, by person. A gate's verdict is of each of the five.
"Table I" and "tuned" have ε of a person or row; "Table II" has a sanitizer's ε, of a record, in proportion to distance:
the two are never compared. Sanitized rows themselves are ``experiments.sanitized_rows.run``; options of "tuned" were
chosen by ``experiments.deeptype.choosing``, on simulated people.
Run: ``python -m experiments.deeptype.run --cache FOLDER`` (what is in the folder is not run again, and several
processes may fill it; ``--only "table 1;tuned"`` runs parts and writes no results; ``--quick``: few made people).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments import harness
from experiments.cells import Cache
from experiments.deeptype import full, generated, grid, hospitals, people, sanitized, tuned, worlds
from experiments.deeptype.people import COHORTS
from experiments.harness import Result, Target
from fedgenome.errors import require

Row = dict[str, Any]
Say = Callable[[str], None]
Part = Callable[[bool, Say, Cache[Any]], Iterator[Row]]


def _every(rows: Callable[[str, bool, Say, Cache[Any]], Sequence[Row]]) -> Part:
    """Return the rows of all cohorts, or quickly of the simulated one."""
    return lambda quick, say, kept: (
        row for name in ((people.SIMULATED,) if quick else COHORTS) for row in rows(name, quick, say, kept)
    )


PARTS: Mapping[str, tuple[str, Part]] = {
    "table 1": ("Table I: the published grid of DP-SGD", _every(grid.rows)),
    "tuned": ("DP-SGD, tuned, and what each thing costs", _every(tuned.rows)),
    "hospitals": (
        "DP-SGD over TCGA-BRCA's hospitals",
        lambda quick, say, kept: iter(()) if quick else hospitals.rows(say, kept),
    ),
    "table 2": ("Table II: DeepType on sanitized rows", _every(sanitized.rows)),
    "generated": (
        "DeepType on rows of DP generators",
        lambda quick, say, kept: iter(()) if quick else iter(generated.rows(say, kept)),
    ),
    "full size": (
        f"The published size: {worlds.GENES:,} genes",
        lambda quick, say, kept: iter(()) if quick else full.rows(say, kept),
    ),
}


def measure(quick: bool, say: Say, cache: str | None = None, only: str | None = None) -> Result:
    """Run all parts, or those asked for, and judge what was promised."""
    asked = only.split(";") if only else list(PARTS)
    unknown = sorted(set(asked) - set(PARTS))
    require(not unknown, f"parts of {', '.join(PARTS)}", unknown=unknown)
    kept: Cache[Any] = Cache.load(Path(cache) if cache else None)
    found = {name: list(PARTS[name][1](quick, say, kept)) for name in asked}
    rows = [{"section": PARTS[name][0]} | row | _pointed(name, row) for name, each in found.items() for row in each]
    return Result(rows=rows, targets=[] if only else list(_targets(found, quick)), whole=not only)


def _pointed(part: str, row: Row) -> Row:
    """Return of which family a row of DP-SGD is in the figure, and what it is called there; other rows say it."""
    if part not in _POINTS or "advantage" not in row:
        return {}
    family, point = _POINTS[part](row)
    return {"family": family, "point": point}


_POINTS: Mapping[str, Callable[[Row], tuple[str, str]]] = {
    "table 1": lambda row: ("Table I", f"σ {row.get('sigma'):g}"),
    "tuned": lambda row: ("tuned" if row["arm"] == tuned.DEEPTYPE else "", f"{row['epsilon']:g}"),
}


def _targets(found: Mapping[str, Sequence[Row]], quick: bool) -> Iterator[Target]:
    yield from grid.targets()
    yield from () if quick else tuned.targets(found["tuned"])
    yield from sanitized.targets(found["table 2"])
    if found["generated"]:
        yield from generated.targets(found["generated"])


FLAGS = {
    "cache": "folder where results are kept",
    "only": f"parts to run, divided by ';', of {', '.join(PARTS)}; writes no results",
}

if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, FLAGS)
