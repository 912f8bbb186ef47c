"""Masked genotypes: how many people are found in them, and what they are still good for.

Two real looks at the same 361 people, an array record that is released and a panel of sequences that an attacker holds
(543 to 553 candidates, no kin across folds). Lists are chosen on three folds of people, attackers are fitted to a
fourth (71 people in both, on average) and judged on the fifth; over five seeds everybody is judged once, so that with
nobody found of 361 at most .83 % are, 95 % sure. RR is the share found at rank 1 by the worst of likelihood, nearest
record, nearest alleles, regression on pairs, closest kin and, where those find fewer than half, a siamese network and
an LSTM (three seeds), all fitted anew to the masked records, the mask known. AUC is that of a simulated phenotype (20
causal variants, h² = .6), "of unmasked" is (AUC − ½) over that of an analyst who has everything; ancestry is told among
five. Brackets are 95 %: RR one-sided either way over people, others over seeds.
Run: ``python -m experiments.afml.run --cache FOLDER`` (what is in the folder is not run again, and several processes
may fill it; ``--only "baselines;learned"`` runs parts and writes no results; ``--quick``: made people).
"""

from __future__ import annotations

from pathlib import Path

from experiments import cells, harness
from experiments.afml import cell, federation, frontier, gated, grid, promises
from experiments.afml.arms import UNMASKED
from experiments.afml.cell import FEDERATED, GATE, Cell
from experiments.afml.worlds import Figures
from experiments.harness import Result
from experiments.synthesis.study import Say
from fedgenome.errors import require


def measure(quick: bool, say: Say, cache: str | None = None, only: str | None = None) -> Result:
    """Fill the grid, or the asked parts of it, and judge the promises."""
    parts = only.split(";") if only else ["quick"] if quick else list(grid.PARTS)
    unknown = sorted(set(parts) - {*grid.PARTS, "quick"})
    require(not unknown, f"parts of {', '.join(grid.PARTS)}", unknown=unknown)
    kept: cells.Cache[Figures] = cells.Cache.load(Path(cache) if cache else None)
    runs: dict[str, list[Figures]] = {}
    for part in parts:
        for one in grid.cells(part):
            runs.setdefault(one.arm, []).append(_figures(kept, one, say))
    tables = {arm: [row for each in runs.pop(arm, []) for row in each["rows"]] for arm in (GATE, FEDERATED)}
    found = {arm: frontier.pool(arm, mine) for arm, mine in runs.items()}
    whole = found[UNMASKED][0] if UNMASKED in found else None
    rows = [frontier.row(point, whole or point) for points in found.values() for point in points]
    targets = list(promises.every(found)) if whole and not only else []
    for arm, judge in ((GATE, gated.targets), (FEDERATED, federation.targets)):
        targets += judge(tables[arm]) if tables[arm] else ()
    return Result(rows=rows + tables[GATE] + tables[FEDERATED], targets=targets, whole=not only)


def _figures(kept: cells.Cache[Figures], one: Cell, say: Say) -> Figures:
    if one.key not in kept.known:
        say(f"{one.arm}, seed {one.seed}")
    return kept.get(one, lambda: cell.run(one))


FLAGS = {
    "cache": "folder where results are kept",
    "only": f"parts to run, divided by ';', of {', '.join(grid.PARTS)}; writes no results",
}

if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, FLAGS)
