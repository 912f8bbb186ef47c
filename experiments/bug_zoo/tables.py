"""Generators that print an ε which does not cover what they release: labels replayed, a copula with copied marginals.

The copula is a published shape: its covariance is noised, each gene's marginal is copied from the rows. Here it is the
library's own (``gaussian`` with ``margins = "histograms"``) at ε = 1, its histograms replaced by exact ones. The attack
weighs a person's bins by how the released histograms differ from public people's. At thresholds fixed beforehand a
release that is ε-differentially private allows no AUC above 1/(1 + e^−ε), .731 at ε = 1 (:func:`most_auc`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from scipy import integrate

from experiments.bug_zoo.verdicts import Verdict, once
from experiments.synthesis import loop
from fedgenome.audit import measure
from fedgenome.audit.bounds import tradeoffs
from fedgenome.audit.results import Interval
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import margins
from fedgenome.methods.base import Generator
from fedgenome.query import Array
from fedgenome.release import Synthetic
from fedgenome.study import Schema
from fedgenome.synthesis import synthesize

EPSILON, DELTA = 1.0, 1e-4
GENES, PEOPLE, PUBLIC = 40, 200, 2000
_SCHEMA = Schema(genes=tuple(f"g{i}" for i in range(GENES)), labels=("a", "b"), high=6.0)
_FACTS = loop.Facts(schema=_SCHEMA, donors_bound=PEOPLE, delta=DELTA, rows=PEOPLE)
_COPULA = loop.Kind(kind="gaussian", options={"margins": "histograms"})
_LEAST = 1e-3  # of a bin's share, where logarithms are taken


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on tables."""
    members, controls, public = (_people(n, seed) for seed, n in enumerate((PEOPLE, PEOPLE, PUBLIC)))
    copula = loop.method(_COPULA, _FACTS, EPSILON)
    paid = loop.trained(copula, members, 1)
    most = most_auc(EPSILON, DELTA)
    attacked = (attack(arrays, members, controls, public) for arrays in (copied(paid, members), paid))
    broken, correct = (found.low for found in attacked)
    yield once(
        "half-noised copula: its marginals are copied",
        "audit.measure.of_scores and audit.bounds.tradeoffs",
        f"lower end of the AUC at 95 %, above the {most:.3f} that ε = {EPSILON:g}, δ = {DELTA:g} allow",
        broken,
        correct,
        lambda auc: auc > most,
    )
    if not isinstance(copula, Generator):
        raise SpecError("expected a method that generates rows")
    rng = np.random.default_rng
    yield once(
        "labels replayed in the real order",
        "numpy equality",
        "share of rows with the label of the real row in their place, 1",
        replayed(members, _replay(copula, paid, members, rng(2))),
        replayed(members, synthesize(copula, paid, PEOPLE, rng(2))),
        lambda share: share == 1,
    )


def most_auc(epsilon: float, delta: float = 0.0) -> float:
    """Return the largest AUC of a score whose rates keep to (``epsilon``, ``delta``)-DP: the area above its curve.

    >>> round(most_auc(1.0), 4) == round(1 / (1 + math.exp(-1)), 4)
    True
    """
    edges = [delta, (math.exp(epsilon) + delta) / (1 + math.exp(epsilon))]
    least, _ = integrate.quad(tradeoffs.approximate(epsilon, delta), 0, 1, points=edges)
    return 1 - float(least)


def copied(arrays: Mapping[str, Array], rows: Shard) -> dict[str, Array]:
    """Return the release with each gene's marginal copied from ``rows``."""
    shares = _bins(arrays, rows).mean(0).reshape(GENES, margins.BINS)
    return {**arrays, "histograms": shares.astype(np.float32)}


def attack(arrays: Mapping[str, Array], members: Shard, controls: Shard, public: Shard) -> Interval:
    """Return the AUC of weighing people's bins by the released histograms over those of ``public`` people."""
    known = np.maximum(_bins(arrays, public).mean(0), _LEAST)
    weight = np.log(np.maximum(arrays["histograms"].astype(np.float64).ravel(), _LEAST) / known)
    scores = (_bins(arrays, people) @ weight for people in (members, controls))
    return measure.of_scores("released histograms", "the release", *scores).auc


def _bins(arrays: Mapping[str, Array], rows: Shard) -> Array:
    return margins.indicators((rows.x.astype(np.float64) - arrays["centre"]) / arrays["scale"])


def replayed(real: Shard, made: Synthetic) -> float:
    """Return the share of rows that have the label of the real row in their place."""
    return float(np.mean(made.label == real.label))


def _replay(copula: Generator, arrays: Mapping[str, Array], real: Shard, rng: np.random.Generator) -> Synthetic:
    return Synthetic(x=copula.sample(arrays, real.label, rng), label=real.label)


def _people(n: int, seed: int) -> Shard:
    """Return people of one population, one row each; genes share two factors."""
    rng, fixed = np.random.default_rng(10 + seed), np.random.default_rng(9)
    kinds, loadings = fixed.normal(3, 0.2, (2, GENES)), fixed.normal(0, 0.3, (2, GENES))
    label = rng.integers(0, 2, n)
    x = kinds[label] + rng.normal(size=(n, 2)) @ loadings + rng.normal(0, 0.6, (n, GENES))
    return Shard(
        x=np.clip(x, 0, _SCHEMA.high),
        label=label,
        donor=np.arange(n),
        donors=tuple(f"d{i}" for i in range(n)),
        mask=np.ones(n, np.bool_),
    )
