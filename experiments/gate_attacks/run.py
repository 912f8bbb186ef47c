"""Which attacks the gate runs: how often each set withholds what does not leak, and what each attack finds.

"No leak": members, controls and table are drawn alike, 560, 140 and 300 rows of two classes; the default policy judges
the standard attacks, and these with one more (its controls at the level of all four). "Overfitted": a table whose
1,000 rows are members, each with noise, in a population of five factors; means of five draws. "Seconds": CPU time of
one audit at the quickstart's sizes, on its cells.
"Model of members": generators without noise, attacked by their rows and by their loss, and how many the gate withholds
by rows alone and with the loss; on METABRIC it was chosen which attack by loss is the gate's, on TCGA-BRCA (909 genes;
875 members, 145 controls, 72 of the base) it is reported. "Of other people": CVAEs that are trained too long, of 385
patients (100 genes), where members and controls are dealt by chance of the others.
Run: ``python -m experiments.gate_attacks.run`` (``--quick``: 10 audits a line).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments import harness
from experiments.gate_attacks import models
from experiments.harness import Result, Target
from experiments.quickstart_accuracy.run import QUICKSTART
from fedgenome import experiment
from fedgenome.audit import gate
from fedgenome.audit.bounds import ranking
from fedgenome.audit.run import ATTACKS, STANDARD, audit
from fedgenome.audit.scales import Values
from fedgenome.audit.targets import Records, independent, people
from fedgenome.audit.targets import Target as Attacked
from fedgenome.prepare import prepare
from fedgenome.streams import Root

AUDITS = 150
GENES = (6, 50)
MORE = ("domias", "monte-carlo")  # cheap enough for every gate
NOISE = (0.05, 0.1, 0.2)  # of an overfitted table, in units of the range
DRAWS = 5
MOST = 0.05  # of tables without a leak, withheld
SECONDS = 60.0
_Part = tuple[list[dict[str, Any]], list[Target]]
FLAGS = {"only": "tables, models, or others (models of other people); writes no results"}
SETS: Mapping[str, Sequence[str]] = {
    "standard": STANDARD,
    **{f"standard, {name}": (*STANDARD, name) for name in MORE},
}


def measure(quick: bool, say: Callable[[str], None], only: str | None = None) -> Result:
    """Measure everything, or one part."""
    parts = {"tables": _tables, "models": _models, "others": _others}
    chosen = parts if only is None else {only: parts[only]}
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    for name, part in chosen.items():
        more, judged = part(quick, say)
        rows, targets = [*rows, *more], [*targets, *judged]
        say(name)
    return Result(rows=rows, targets=targets, whole=only is None)


def _tables(quick: bool, say: Callable[[str], None]) -> _Part:
    """Measure the attacks on tables."""
    rows: list[dict[str, Any]] = []
    for genes in GENES:
        rows += _without_a_leak(genes, 10 if quick else AUDITS)
        say(f"{genes} genes: no leak")
    worst = max(row["withheld"] for row in rows if row["attacks"] == "standard")
    rows += [_overfitted(genes, noise) for genes in GENES for noise in NOISE]
    spent = {name: _seconds(attacks) for name, attacks in (("standard", STANDARD), ("all", tuple(ATTACKS)))}
    rows += [{"table": "quickstart's cells", "attacks": name, "CPU seconds": one} for name, one in spent.items()]
    told = "standard attacks: share of tables without a leak withheld"
    return rows, [
        Target(name=told, value=worst, target=MOST, sense="at most"),
        Target(name="standard audit: CPU seconds", value=spent["standard"], target=SECONDS, sense="at most"),
    ]


def _models(quick: bool, say: Callable[[str], None]) -> _Part:
    """Measure the attacks on models of members."""
    cohort, splits = models.SPLITS
    if quick:
        return list(models.of_members(cohort, splits[:1], ("factors",), say)), []
    rows = [row for each in (models.CHOSEN, models.SPLITS) for row in models.of_members(*each, None, say)]
    seen = {row["model of members"]: row["withheld"] for row in rows if row["cohort"] == cohort}
    name = f"{cohort}: share of splits in which it is withheld, without DP: "
    both = (models.CVAE, models.TOO_LONG)
    return rows, [Target(name=name + one, value=seen[one], target=1.0, sense="at least") for one in both]


def _others(quick: bool, say: Callable[[str], None]) -> _Part:
    """Measure how often models that know nobody are withheld."""
    rows = list(models.of_others(*((10, 1) if quick else (models.DEALS, models.OTHERS)), say))
    name = "CVAEs trained too long on other people: share of audits withheld"
    return rows, [Target(name=name, value=row["withheld"], target=MOST, sense="at most") for row in rows]


def _without_a_leak(genes: int, audits: int) -> Iterator[dict[str, Any]]:
    rng, withheld, void = np.random.default_rng(genes), Counter[str](), Counter[str]()
    for k in range(audits):
        members, controls, table = (_two_classes(n, genes, rng) for n in (560, 140, 300))
        found = audit(
            members=members,
            controls=controls,
            synthetic=table,
            scale=Values(0, 8),
            rng=np.random.default_rng(k),
            attacks=(*STANDARD, *MORE),
        )
        for name, attacks in SETS.items():
            part = models.only(found, attacks)
            withheld[name] += not gate.judge(part, gate.Policy()).released
            void[name] += bool(part.void)
    for name in SETS:
        told = {"table": f"no leak, {genes} genes", "attacks": name, "audits": audits}
        yield told | {"withheld": round(withheld[name] / audits, 3), "of these void": round(void[name] / audits, 3)}


def _two_classes(rows: int, genes: int, rng: np.random.Generator) -> Records:
    label = rng.integers(0, 2, rows)
    return Records(x=rng.normal(3 + label[:, None], 1, (rows, genes)).clip(0, 8).astype(np.float32), label=label)


def _overfitted(genes: int, noise: float) -> dict[str, Any]:
    areas: dict[str, list[float]] = {name: [] for name in ATTACKS}
    for k in range(DRAWS):
        rng = np.random.default_rng([genes, k])
        weights = rng.normal(0, 0.6, (5, genes))
        members, controls, base = (_of_factors(n, weights, rng) for n in (560, 94, 46))
        table = members.rows(rng.choice(len(members), 1000))
        table = replace(table, x=table.x + rng.normal(0, noise, table.x.shape), donor=None)
        target = Attacked(table=table, samples=table)
        for name, score in ATTACKS.items():
            areas[name].append(ranking.auc(score(members, target, base), score(controls, target, base)))
    told = {"table": f"overfitted, noise {noise:g}, {genes} genes"}
    return told | {f"AUC {name}": round(float(np.mean(each)), 3) for name, each in areas.items()}


def _of_factors(rows: int, weights: np.ndarray, rng: np.random.Generator) -> Records:
    label = rng.integers(0, 2, rows)
    means = 4 + label[:, None] / 2 + rng.standard_normal((rows, len(weights))) @ weights
    return Records(x=(rng.normal(means, 0.4) / 8).clip(0, 1), label=label)


def _seconds(attacks: Sequence[str]) -> float:
    prepared = prepare(experiment.load(QUICKSTART), Root.simulation(0, "split").stream("split").generator())
    members, controls = people(prepared.split.members), people(prepared.split.controls)
    schema, rng = prepared.study.schema_, np.random.default_rng(0)
    table, samples = (independent(members, n, rng) for n in (prepared.experiment.release.rows, 5000))
    begun = time.process_time()
    audit(
        members=members,
        controls=controls,
        synthetic=table,
        samples=samples,
        scale=Values(schema.low, schema.high),
        rng=rng,
        attacks=attacks,
    )
    return round(time.process_time() - begun, 2)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, FLAGS)
