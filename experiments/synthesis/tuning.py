"""Methods of the library side by side on tuning splits of one cohort, whole or a panel of its genes.

What decisions on options rest on: patient splits from 1000 on, of which no reported figure comes. A panel is drawn
by names, and the public guess at a row's norm is scaled with the root of its size.
Run: ``python -m experiments.synthesis.tuning --cohort metabric --genes 40``; it prints a table and writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments import harness
from experiments.harness import Result
from experiments.synthesis import arms, chosen, cohorts, judge, others, study
from experiments.synthesis.arms import Arm
from experiments.synthesis.loop import Kind
from experiments.synthesis.study import Dealt
from fedgenome.audit.targets import people
from fedgenome.cohort import expression
from fedgenome.methods.tree import MOST_GENES

ARMS = ("gaussian, diagonal", "gaussian, low rank", "copula", "tree")
EPSILONS = (1.0, 5.0, 10.0)
FIGURES = (judge.MAIN, "macro-F1", "Wasserstein", judge.RECALL, judge.PRECISION)
_SEED = 1  # of the panel
_SHAPED = {"covariance": "diagonal", "margins": "histograms"}


def measure(
    quick: bool,
    say: Callable[[str], None],
    cohort: str | None = None,
    genes: str | None = None,
    methods: str | None = None,
    splits: str | None = None,
) -> Result:
    """Run the arms at every ε; ``methods`` are names with ``|`` between, ``splits`` how many of the tuning splits."""
    seeds = chosen.TUNING[: int(splits) if splits else 1 if quick else None]
    dealt = [_dealt(cohort or "tcga_brca", int(genes) if genes else None, seed) for seed in seeds]
    small = len(dealt[0].facts.schema.genes) <= MOST_GENES
    names = methods.split("|") if methods else [name for name in ARMS if small or name != "tree"]
    rows = list(_rows(dealt, seeds, _arms(cohort or "tcga_brca", dealt[0]), names, (5.0,) if quick else EPSILONS, say))
    return Result(rows=rows, targets=(), whole=False)


def _dealt(name: str, genes: int | None, seed: str) -> Dealt:
    """Return a split of the whole cohort, or of ``genes`` of its genes."""
    if genes is None:
        return study.dealt(name, seed)
    panel: Mapping[str, Any] = {"genes": {"random": genes, "seed": _SEED}}
    cohort = cohorts.read(name, **panel)
    deal, facts = cohorts.dealt(cohort, name, int(seed)), study.facts_of(name)
    facts = replace(facts, schema=expression.schema_of(cohort, cohorts.spec(name, **panel)))
    return Dealt(members=deal.members, test=people(deal.controls), facts=facts)


def _arms(name: str, dealt: Dealt) -> Mapping[str, Arm]:
    guesses = dict(others.GUESSES.get(name, arms.LOG))
    part = len(dealt.facts.schema.genes) / len(study.facts_of(name).schema.genes)
    guesses |= {"radius": guesses["radius"] * float(np.sqrt(part))}
    more = {
        "tree": Kind(kind="tree", options=guesses),
        "diagonal, histograms": Kind(kind="gaussian", options={**_SHAPED, **guesses}),
    }
    return arms.methods(guesses) | {label: arms.ours(kind) for label, kind in more.items()}


def _rows(
    dealt: list[Dealt],
    seeds: tuple[str, ...],
    there: Mapping[str, Arm],
    names: Sequence[str],
    epsilons: tuple[float, ...],
    say: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    for epsilon in epsilons:
        for name in names:
            found = []
            for here, seed in zip(dealt, seeds, strict=True):
                table = there[name].run(here.members, here.facts, epsilon, study.seed_of(seed))
                found.append(judge.judged(table, here.test, here.truth))
                say(f"{name}, epsilon {epsilon}, split {seed}")
            means = {figure: judge.mean(found, figure) for figure in FIGURES}
            told = {figure: None if value is None else round(value, 3) for figure, value in means.items()}
            yield {"genes": len(dealt[0].facts.schema.genes), "epsilon": epsilon, "fitted": name} | told


if __name__ == "__main__":
    flags = {
        "cohort": "its name; tcga_brca if not given",
        "genes": "size of a panel; all if not given",
        "methods": "names with | between",
        "splits": "how many of the five tuning splits",
    }
    harness.main(__file__, __doc__ or "", measure, flags)
