"""PAM50 subtypes of TCGA breast cancers by a linear model, hospitals as sites: what each trust model costs.

1,085 patients of 40 real hospitals, 909 genes, ten splits by patient (a fifth to test on), one fixed setting of
the method ``linear``, δ = 1e-4. Arms: without noise; central DP (one trusted server adds the noise: exact sums and
floating-point Gaussian noise, neither ring nor rounding); ``distributed`` with t colluding parties; ``local``;
and each hospital of at least 20 training patients alone, averaged. Central and t = 0 run with five draws of noise
a split, the others with one. All federated arms are replayed: the protocol's
own integers, seeded, without its cryptography. Of every arm and ε one split runs with all roles, 40 site agents
and three party processes, and must give the same bytes.
Run: ``python -m experiments.brca_pam50.run`` (``--quick``: two splits at ε = 3, one arm in full, one draw).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from experiments import central, harness, replay
from experiments.harness import Result, Target
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError, require
from fedgenome.experiment import Experiment
from fedgenome.methods.base import Method
from fedgenome.methods.linear import Linear
from fedgenome.prepare import Prepared, prepare
from fedgenome.query import Array
from fedgenome.streams import Root

DATA = Path(os.environ.get("FEDGENOME_DATA", Path(__file__).parents[2] / "../shared/data"))
COHORT = DATA / "expression" / "tcga_brca_rnaseq_1218x909.h5ad"
SPLITS = range(10)
EPSILONS = (1.0, 3.0, 10.0)
FLOORS = {3.0: 0.80, 10.0: 0.83}
LEAST = 20  # training patients of a hospital that trains alone
DRAWS = 5  # draws of noise a split, where distributed is compared with central: a split's mean is over them
SLACK = 25  # a lone hospital's public bound is its size rounded up to a multiple of this


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One line of the table.

    Attributes:
        draws: Runs a split, each with noise of its own.
    """

    name: str
    trust: str
    colluders: int = 1
    draws: int = 1


NONE = Arm(name="no noise", trust="none")
ZERO = Arm(name="distributed, t = 0", trust="distributed", colluders=0, draws=DRAWS)
PRIVATE = (
    ZERO,
    Arm(name="distributed, t = 1", trust="distributed", colluders=1),
    Arm(name="distributed, t = 2", trust="distributed", colluders=2),
    Arm(name="local", trust="local"),
)
CENTRAL, ALONE = "central", "one hospital alone"
Scores = dict[tuple[str, float | None], list[float]]


def experiment(arm: Arm, epsilon: float | None) -> Experiment:
    """Return the study of one arm. Its numbers are public: a guess at log expression, bounds with slack."""
    if not COHORT.exists():
        raise SpecError(f"{COHORT}: expected the cohort here; set FEDGENOME_DATA to the folder that holds expression/")
    cohort = {
        "source": str(COHORT),
        "label": "pam50",
        "labels": ("LumA", "LumB", "Basal", "Her2", "Normal"),
        "donor": "patient",
        "site": "tss",
        "scale": "log",
        "high": 20.0,
        "drop_unlabelled": True,
        "public": True,
    }
    private = {"epsilon": epsilon, "delta": 1e-4, "colluders": arm.colluders, "retries": 0.0}
    return Experiment.model_validate(
        {
            "name": "brca-pam50",
            "cohort": cohort,
            "split": {"by": "column", "controls": 0.2},
            "caps": {"site_cap": 150, "donors_bound": 900},
            "privacy": {"trust": arm.trust} if epsilon is None else {"trust": arm.trust, **private},
            "methods": [{"kind": "linear", "options": {"middle": 7.5, "radius": 110.0}}],
        }
    )


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Train every arm at every ε on every split, and compare."""
    splits, epsilons = (SPLITS[:2], EPSILONS[1:2]) if quick else (SPLITS, EPSILONS)
    arms = (replace(ZERO, draws=1),) if quick else PRIVATE
    scores: Scores = {(NONE.name, None): [_score(NONE, None, split, say, whole=False) for split in splits]}
    for epsilon in epsilons:
        for arm in arms:
            scores[arm.name, epsilon] = [_score(arm, epsilon, split, say, whole=split == splits[0]) for split in splits]
            say(f"{arm.name}, epsilon {epsilon:g}: {np.mean(scores[arm.name, epsilon]):.3f}")
        prepared = [_prepared(ZERO, epsilon, split) for split in splits]
        scores[CENTRAL, epsilon] = [
            _central(one, split, arms[0].draws) for one, split in zip(prepared, splits, strict=True)
        ]
        scores[ALONE, epsilon] = [_alone(one, split) for one, split in zip(prepared, splits, strict=True)]
    scores["majority class", None] = [_majority(_prepared(NONE, None, split)) for split in splits]
    return Result(rows=[_row(*key, values) for key, values in scores.items()], targets=list(_targets(scores)))


def _prepared(arm: Arm, epsilon: float | None, split: int) -> Prepared:
    return prepare(experiment(arm, epsilon), Root.simulation(split, "split").stream("split").generator())


def _score(arm: Arm, epsilon: float | None, split: int, say: Callable[[str], None], *, whole: bool) -> float:
    """Return the accuracy on one split; ``whole``: compare a run with the whole federation, byte by byte."""
    prepared = _prepared(arm, epsilon, split)
    seeds = _seeds(split, arm.draws)
    runs = [replay.replayed(prepared, seed)["linear"] for seed in seeds]
    if whole:
        say(f"{arm.name}, epsilon {epsilon}: the whole federation")
        told = replay.federated(prepared, seeds[0])["linear"]
        same = all(told[name].tobytes() == array.tobytes() for name, array in runs[0].items())
        require(same, "a replay of the same bytes as the federation's release", arm=arm.name, epsilon=epsilon)
    return float(np.mean([_accuracy(prepared, arrays) for arrays in runs]))


def _seeds(split: int, draws: int) -> list[int]:
    return [1000 + split * DRAWS + draw for draw in range(draws)]


def _accuracy(prepared: Prepared, arrays: Mapping[str, Array]) -> float:
    method, test = prepared.methods["linear"], prepared.split.controls
    if not isinstance(method, Linear):
        raise TypeError(f"{type(method).__name__} is not linear")
    return float(np.mean(method.predict(arrays, test.x) == test.label))


def _central(prepared: Prepared, split: int, draws: int) -> float:
    """Train with one trusted server."""
    method, members = prepared.methods["linear"], prepared.split.members
    return float(np.mean([_accuracy(prepared, _trained(method, members, seed)) for seed in _seeds(split, draws)]))


def _alone(prepared: Prepared, split: int) -> float:
    """Return the mean over hospitals of what each reaches alone, on the same test patients."""
    method = prepared.methods["linear"]
    if not isinstance(method, Linear):
        raise TypeError(f"{type(method).__name__} is not linear")
    alone = [
        _accuracy(prepared, _trained(replace(method, donors_bound=_bound(shard)), shard, *_seeds(split, 1)))
        for shard in prepared.split.sites.values()
        if shard.n_donors >= LEAST
    ]
    return float(np.mean(alone))


def _bound(shard: Shard) -> int:
    return math.ceil(shard.n_donors / SLACK) * SLACK


def _trained(method: Method, shard: Shard, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng([seed, shard.n_donors])
    return central.trained(method, shard, Root.simulation(seed, "central"), rng, rng)


def _majority(prepared: Prepared) -> float:
    most = np.bincount(prepared.split.members.label).argmax()
    return float(np.mean(prepared.split.controls.label == most))


def _row(name: str, epsilon: float | None, values: Sequence[float]) -> dict[str, str | float]:
    low, high = _interval(values)
    return {
        "trained": name,
        "epsilon": "none" if epsilon is None else f"{epsilon:g}",
        "accuracy": round(float(np.mean(values)), 4),
        "sd over splits": round(float(np.std(values, ddof=1)), 4),
        "95 % low": round(low, 4),
        "95 % high": round(high, 4),
    }


def _interval(values: Sequence[float], wrong: float = 0.05) -> tuple[float, float]:
    """Return the interval of a mean by Student's t; splits overlap, so that it is somewhat too narrow.

    Args:
        wrong: The share of such intervals that miss.
    """
    half = stats.t.ppf(1 - wrong / 2, len(values) - 1) * stats.sem(values)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def _targets(scores: Scores) -> Iterator[Target]:
    epsilons = sorted({epsilon for _, epsilon in scores if epsilon is not None})
    for epsilon in epsilons:
        ours, central = scores[ZERO.name, epsilon], scores[CENTRAL, epsilon]
        difference = np.subtract(ours, central)
        low, high = _interval(difference.tolist(), 0.05 / len(epsilons))  # all of them hold at once in 95 %
        name = f"distributed, t = 0, against central, epsilon {epsilon:g}: difference over its interval's half width"
        half = (high - low) / 2
        yield Target(name=name, value=abs(float(difference.mean())) / half, target=1.0, sense="at most")
        if epsilon in FLOORS:
            name = f"distributed, t = 0, epsilon {epsilon:g}: accuracy"
            yield Target(name=name, value=float(np.mean(ours)), target=FLOORS[epsilon], sense="at least")


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
