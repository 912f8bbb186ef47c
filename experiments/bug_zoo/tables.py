"""Generators that print an ε which does not cover what they release: a copula with copied marginals, labels replayed.

The copula is a published shape: its covariance is noised, each gene's marginal is copied from the rows. Here it is the
library's own (``gaussian`` with ``margins = "histograms"``) at ε = 1, its histograms replaced by exact ones. People are
in by fair coins; the attack weighs a person's bins by how the released histograms differ from public people's.
:func:`most_auc` says which AUC an ε allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from experiments.bug_zoo import people
from experiments.bug_zoo.verdicts import Detector, Verdict
from experiments.synthesis import loop
from fedgenome.audit import measure
from fedgenome.audit.bounds import one_run, tradeoffs
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import margins
from fedgenome.methods.base import Generator
from fedgenome.query import Array
from fedgenome.release import Synthetic
from fedgenome.study import Schema
from fedgenome.synthesis import synthesize

EPSILON, DELTA = 1.0, 1e-4
GENES, PEOPLE, PUBLIC, GUESSED = 200, 400, 2000, 60
_SCHEMA = Schema(genes=tuple(f"g{i}" for i in range(GENES)), labels=("a", "b"), high=6.0)
_FACTS = loop.Facts(schema=_SCHEMA, donors_bound=PEOPLE, delta=DELTA, rows=PEOPLE)
_COPULA = loop.Kind(kind="gaussian", options={"margins": "histograms"})
_LEAST = 1e-3  # of a bin's share, where logarithms are taken


def most_auc(epsilon: float, delta: float = 0.0, records: int = 2) -> float:
    """Return what no attack's AUC on an (``epsilon``, ``delta``)-DP release exceeds, on average over releases.

    (e^{kε} + δ_k)/(1 + e^{kε}). To rank someone who is in above someone who is not is to tell which of the two replaced
    the other: k = 2 records where ε is about adding or removing one, k = 1 where it is about replacing one.

    >>> round(most_auc(1.0, records=1), 3), round(most_auc(1.0), 3)
    (0.731, 0.881)
    """
    odds = math.exp(records * epsilon)
    return (odds + tradeoffs.group_delta(epsilon, delta, records)) / (1 + odds)


_MOST = most_auc(EPSILON, DELTA)
_AUC = Detector(
    name="audit.measure.of_scores",
    statistic=f"lower end of the AUC, above {_MOST:.3f} ({most_auc(EPSILON, DELTA, 1):.3f} were ε by replacement)",
    fires=lambda auc: auc > _MOST,
)
_ONE_RUN = Detector(
    name="audit.bounds.one_run.epsilon",
    statistic=f"ε refuted at 95 %, above {EPSILON:g}",
    fires=lambda epsilon: epsilon > EPSILON,
)
_EQUALITY = Detector(
    name="numpy equality",
    statistic="share of rows with the label of the real row in their place, 1",
    fires=lambda share: share == 1,
)


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on tables."""
    people, public = _people(PEOPLE, 0), _people(PUBLIC, 1)
    coins = np.random.default_rng(3).random(PEOPLE) < 0.5
    members, copula = people.take(coins), loop.method(_COPULA, _FACTS, EPSILON)
    paid = loop.trained(copula, members, 1)
    broken, correct = (attack(arrays, people, public) for arrays in (copied(paid, members), paid))
    bug = "half-noised copula: its marginals are copied"
    yield _AUC.once(bug, _lower(broken, coins), _lower(correct, coins))
    yield _ONE_RUN.once(bug, _refuted(broken, coins), _refuted(correct, coins))
    if not isinstance(copula, Generator):
        raise SpecError("expected a method that generates rows")
    made = synthesize(copula, paid, len(members.x), np.random.default_rng(2))
    again = Synthetic(x=copula.sample(paid, members.label, np.random.default_rng(2)), label=members.label)
    yield _EQUALITY.once("labels replayed in the real order", replayed(members, again), replayed(members, made))


def copied(arrays: Mapping[str, Array], rows: Shard) -> dict[str, Array]:
    """Return the release with each gene's marginal copied from ``rows``."""
    shares = _bins(arrays, rows).mean(0).reshape(GENES, margins.BINS)
    return {**arrays, "histograms": shares.astype(np.float32)}


def attack(arrays: Mapping[str, Array], people: Shard, public: Shard) -> Array:
    """Return people's scores: the weight of their bins, by the released histograms over those of ``public`` people."""
    known = np.maximum(_bins(arrays, public).mean(0), _LEAST)
    released = np.maximum(arrays["histograms"].astype(np.float64).ravel(), _LEAST)
    return np.asarray(_bins(arrays, people) @ np.log(released / known))


def _bins(arrays: Mapping[str, Array], rows: Shard) -> Array:
    return margins.indicators((rows.x.astype(np.float64) - arrays["centre"]) / arrays["scale"])


def _lower(scores: Array, coins: Array) -> float:
    return measure.of_scores("released histograms", "the release", scores[coins], scores[~coins]).auc.low


def _refuted(scores: Array, coins: Array) -> float:
    return one_run.epsilon(one_run.guess(scores, coins, GUESSED, GUESSED), DELTA).epsilon


def replayed(real: Shard, made: Synthetic) -> float:
    """Return the share of rows that have the label of the real row in their place."""
    return float(np.mean(made.label == real.label))


def _people(n: int, seed: int) -> Shard:
    """Return people of one population, one row each; genes share two factors."""
    rng, fixed = np.random.default_rng(10 + seed), np.random.default_rng(9)
    kinds, loadings = fixed.normal(3, 0.2, (2, GENES)), fixed.normal(0, 0.3, (2, GENES))
    label = rng.integers(0, 2, n)
    x = kinds[label] + rng.normal(size=(n, 2)) @ loadings + rng.normal(0, 0.6, (n, GENES))
    return people.shard(x, label, _SCHEMA.high)
