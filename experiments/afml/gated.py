"""What the library's gate says: of records under a list, by linkage, and of synthetic ones in their place."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from experiments.afml import attacks, lists
from experiments.afml.alternatives import drawn
from experiments.afml.frontier import Row
from experiments.afml.worlds import World
from experiments.harness import Target
from fedgenome.audit import gate
from fedgenome.audit.gate import Policy
from fedgenome.audit.linkage import judge
from fedgenome.audit.linkage.run import linked
from fedgenome.audit.run import STANDARD, audit
from fedgenome.audit.scales import Values
from fedgenome.audit.targets import Records
from fedgenome.query import Array

KEPT = (2, 20)
WHAT = "judged by the gate"
EPSILONS = (1.0, 3.0)


def verdicts(at: World) -> Iterator[Row]:
    """Yield what becomes of lists by association, and of synthetic genotypes."""
    order = lists.associated(at.people, at.rng("list", "association"))
    for kept in KEPT:
        held = attacks.attacked(at.panels, at.sides, at.panels.array, np.sort(order[:kept]))
        found = linked(held.probes, held.candidates, held.owner, held.others, at.rng("gate", str(kept)))
        verdict = judge.judge(found, Policy())
        yield _row(f"{kept} variants by association", at.seed, verdict, found.worst.high)
    members, controls = (_records(at, rows) for rows in (at.sides.chosen, _others(at)))
    for epsilon in EPSILONS:
        tested = audit(
            members=members,
            controls=controls,
            synthetic=drawn(at, "phenotype", epsilon),
            scale=Values(0, 2),
            rng=at.rng("gate", "synthetic"),
            attacks=STANDARD,
            unit="donor",
        )
        yield _row(_synthetic(epsilon), at.seed, gate.judge(tested, Policy()), None)


def targets(rows: list[Row]) -> Iterator[Target]:
    """Yield: records of 20 variants are refused, synthetic ones pass."""
    refused = [row["passes"] for row in rows if row[WHAT] == f"{KEPT[-1]} variants by association"]
    name = f"gate: releases of records of {KEPT[-1]} variants"
    yield Target(name=name, value=float(sum(refused)), target=0.0, sense="at most")
    for epsilon in EPSILONS:
        passed = [row["passes"] for row in rows if row[WHAT] == _synthetic(epsilon)]
        name = f"gate: share of {_synthetic(epsilon)} that pass in their place"
        yield Target(name=name, value=float(np.mean(passed)), target=1.0, sense="at least")


def _synthetic(epsilon: float) -> str:
    return f"synthetic genotypes, epsilon {epsilon:g}"


def _row(what: str, seed: int, verdict: gate.Verdict, high: float | None) -> Row:
    why = verdict.reasons[0] if verdict.reasons else ""
    return {WHAT: what, "seed": seed, "passes": verdict.released, "RR at most": high, "because": why}


def _others(at: World) -> Array:
    return np.setdiff1d(np.arange(len(at.label)), at.sides.chosen)


def _records(at: World, rows: Array) -> Records:
    dosages = np.maximum(at.panels.array[rows], 0).astype(np.float32)
    return Records(x=dosages, label=at.label[rows])
