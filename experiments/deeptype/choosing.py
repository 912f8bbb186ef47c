"""Which options DP-SGD is tuned to: chosen on simulated people of a cohort's shape, so that they cost nobody anything.

Panels of real cohorts were chosen by others for what they tell; so the simulated ones keep the tenth of the genes
that tell subtypes best. Half of the simulated people train and half are asked: 1,434, 1,759 and 1,853 in the shapes of
TCGA-BRCA (868 train there), METABRIC (1,518) and the simulated cohort (1,706), whose own people are others. One pass
over the options, an option at a time, keeps what is right most often. With fewer people the best options may differ.

Run: ``python -m experiments.deeptype.choosing --cohort tcga_brca`` (three minutes a cohort, one core); it writes
nothing. What it printed is :data:`experiments.deeptype.tuned.CHOSEN`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from experiments import harness
from experiments.deeptype import learned, people, worlds
from experiments.deeptype.people import METABRIC, SIMULATED, TCGA, People
from experiments.harness import Result

EPSILONS = (1.0, 3.0, 10.0, 46.0)
PEOPLE = {SIMULATED: 3706, TCGA: 2868, METABRIC: 3518}  # half of whom train
GENES = {SIMULATED: people.STUDIED, TCGA: 909, METABRIC: 79}
WIDE = 10  # genes measured for one of a panel
SEED = 1007  # no reported people's

Options = dict[str, Any]
START: Options = {
    "rounds": 300, "sampling": 0.1, "clip": 1.0, "rate": 0.03, "hidden": [64, 32],
    "normalise": "gene", "preludes_noise": 1.0, "joint": 0.0,
}  # fmt: skip
OTHERS: Sequence[Sequence[Options]] = (
    ({"rate": 0.01}, {"rate": 0.1}),
    ({"hidden": [32, 16]}, {"hidden": [128, 64]}),
    ({"clip": 0.3}, {"clip": 3.0}),
    ({"normalise": "global"}, {"normalise": "off"}, {"preludes_noise": 2.0}),
    ({"rounds": 100, "sampling": 0.25}, {"rounds": 600}),
    ({"joint": 0.5}, {"joint": 0.5, "centres": "charged"}),
)


def stand_in(cohort: str, quick: bool = False) -> People:
    """Return simulated people with a cohort's genes."""
    count, genes = (800, 40) if quick else (PEOPLE[cohort], GENES[cohort])
    if cohort == SIMULATED:
        return people.simulated(genes, count, SEED)
    every = people.simulated(WIDE * genes, count, SEED)
    kept = np.sort(np.argsort(_telling(every))[-genes:])
    return replace(every, x=np.ascontiguousarray(every.x[:, kept]), schema=worlds.schema(genes))


def _telling(who: People) -> Any:
    """Return each gene's variance between subtypes over its variance."""
    means = np.stack([who.x[who.label == label].mean(0) for label in range(who.classes)])
    share = np.bincount(who.label, minlength=who.classes) / len(who.label)
    return share @ np.square(means - who.x.mean(0)) / who.x.var(0)


def right(who: People, options: Mapping[str, Any], bound: int, epsilon: float) -> float:
    """Return how often a model of the first half of the people is right about the second."""
    asked = np.arange(len(who.label)) >= len(who.label) - len(who.label) // 2
    made = learned.method(options, who.schema, bound, epsilon)
    said = learned.logits(made, who, ~asked, SEED).argmax(1)
    return float((said == who.label)[asked].mean())


def best(who: People, bound: int, epsilon: float, say: Callable[[str], None]) -> tuple[Options, float]:
    """Return the options that one pass ends with, and how often they are right."""
    chosen, most = START, right(who, START, bound, epsilon)
    for others in OTHERS:
        tried = [chosen | other for other in others]
        found = [right(who, options, bound, epsilon) for options in tried]
        say(f"epsilon {epsilon:g}: {most:.3f}; {', '.join(f'{a} {b:.3f}' for a, b in zip(others, found, strict=True))}")
        if max(found) > most:
            chosen, most = tried[int(np.argmax(found))], max(found)
    return chosen, most


def measure(quick: bool, say: Callable[[str], None], cohort: str | None = None) -> Result:
    """Choose options for one cohort's shape, or all three, at every ε."""
    return Result(rows=list(_rows(quick, say, (cohort,) if cohort else people.COHORTS)), targets=(), whole=False)


def _rows(quick: bool, say: Callable[[str], None], cohorts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for cohort in cohorts:
        who = stand_in(cohort, quick)
        for epsilon in EPSILONS[2:3] if quick else EPSILONS:
            options, most = best(who, learned.BOUNDS[cohort], epsilon, say)
            yield {"cohort": cohort, "epsilon": epsilon, "accuracy": most, **options}


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure, {"cohort": "the one whose shape is simulated; all if not given"})
