"""What language models of DNA memorize: by copies, architecture, capacity, epochs and regime.

After Nemecek et al. 2026 (arXiv 2603.08913): canaries of 48 random letters are planted 1, 2, 4 … 64 times each in 1,000
windows of random letters, or of people's mitochondrial DNA (the control region, 50 people; the file is no part of the
project). Four architectures at three capacities are trained for 16 epochs, three seeds each, and looked at after 1, 2,
4, 8 and 16: how many bits a base a canary takes less than one that was not planted; its exact exposure among all 65,536
beginnings (a masked model's among 1,023 strings); whether it is said, 36 letters from 12 (a masked model: every fourth
letter filled in); whether it is taken for a member at a threshold of 5 % false alarms, fixed by canaries of its own.
The score is the worst of the four beside what was not planted; brackets are 95 % intervals over canaries of all seeds,
which share a model. "People" are the donors themselves, each window once, beside people in no training data.
Beside them, small: one rate alone and nothing planted, in as many steps; tuned from a base of public people, all
weights or adapters; five sites that average what each makes of an epoch (a canary is at one of them); rounds of
clipped sums as of one trusted server, without noise and at ε = 1, 3 and 10 (δ = 1e-5; a copy is a donor).
Run: ``python -m experiments.memorization.run --cache FOLDER`` (three CPU-hours; what is in the folder is not run again,
and several processes may fill it; ``--only "small;tuned"`` runs parts and writes no results; ``--quick``: one seed).
"""

from __future__ import annotations

from pathlib import Path

from experiments import cells, harness
from experiments.harness import Result, Target
from experiments.memorization import cell, grid, private, promises, rows
from experiments.memorization.cell import Cell, Figures
from experiments.memorization.pooled import pool
from experiments.memorization.rows import Kind, Row
from experiments.synthesis.study import Say
from fedgenome.errors import require

EARLY = (1, 8, 64)  # copies of the rows before the last epoch
Runs = dict[Kind, list[tuple[Cell, Figures]]]


def measure(quick: bool, say: Say, cache: str | None = None, only: str | None = None) -> Result:
    """Fill the grid, or the asked parts of it, and judge the promises."""
    parts = only.split(";") if only else ["quick"] if quick else list(grid.PARTS)
    unknown = sorted(set(parts) - set(grid.EVERY))
    require(not unknown, f"parts of {', '.join(grid.EVERY)}", unknown=unknown)
    kept: cells.Cache[Figures] = cells.Cache.load(Path(cache) if cache else None)
    wanted = [one for part in parts for one in grid.EVERY[part]]
    runs: Runs = {}
    for one in wanted:
        runs.setdefault(rows.kind_of(one), []).append((one, _figures(kept, one, say)))
    return Result(rows=_rows(runs), targets=_targets(runs, quick) if quick or not only else (), whole=not only)


def _figures(kept: cells.Cache[Figures], one: Cell, say: Say) -> Figures:
    if one.key not in kept.known:
        say(one.name)
    return kept.get(one, lambda: cell.run(one))


def _rows(runs: Runs) -> list[Row]:
    found: list[Row] = []
    for kind, mine in runs.items():
        *early, last = mine[0][0].scale.epochs
        for epoch in early if (kind.trained, kind.capacity) == ("scratch", "small") else ():
            found += rows.of_canaries(kind, pool(mine, epoch), epoch, EARLY)
        end = pool(mine, last)
        found += rows.of_canaries(kind, end, last)
        found.append(rows.of_people(kind, end, last))
        if end.canaries.coin.any():
            found.append(rows.of_coins(kind, end, last, private.DELTA))
    return found + _misses(runs)


def _misses(runs: Runs) -> list[Row]:
    """Return what each vector misses at every rate and after every epoch, in models trained from nothing."""
    cases = {
        rows.words(kind, epoch, rate): rows.lower_ends(pooled, rate)
        for kind, mine in runs.items()
        if kind.trained == "scratch"
        for epoch in mine[0][0].scale.epochs
        for pooled in (pool(mine, epoch),)
        for rate in pooled.canaries.rungs
    }
    return list(rows.of_misses(cases))


def _targets(runs: Runs, quick: bool) -> list[Target]:
    last = {kind: pool(mine, mine[0][0].scale.epochs[-1]) for kind, mine in runs.items()}
    if quick:
        return [*promises.recital(last), *promises.calibration(last)]
    return list(promises.every(last, _misses(runs)))


FLAGS = {
    "cache": "folder where results are kept",
    "only": f"parts to run, divided by ';', of {', '.join(grid.PARTS)}; writes no results",
}

if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, FLAGS)
