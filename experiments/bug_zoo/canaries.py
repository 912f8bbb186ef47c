"""Canaries in one run of a linear classifier that claims ε = 1: who was in is guessed from the released weights alone.

300 canaries, each in by a fair coin, beside 100 people: rows at the ends of the range at random, whose raw gradients
are some thirty times the clip norm. A canary's score is the released model's margin for its label; the 40 highest are
guessed "in", the 40 lowest "out". Score and numbers were fixed on runs of other seeds. It fires where ε = 1 is refuted.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from experiments.bug_zoo.verdicts import Detector, Verdict, as_a
from experiments.synthesis import loop
from fedgenome.audit.bounds import one_run
from fedgenome.cohort.shard import Shard
from fedgenome.methods.base import DonorStreams, Method
from fedgenome.methods.linear import Linear
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from fedgenome.query import Array, Question
from fedgenome.streams import Root
from fedgenome.study import Schema

CLAIMED = 1.0
DELTA = 1e-5
GENES, LABELS, PEOPLE, CANARIES, GUESSED = 800, 8, 100, 300, 40
RUNS, TWIN_RUNS = range(2000, 2010), range(3000, 3020)  # their seeds
POWER = (2.0, 4.0, 8.0, 16.0)
SILENT = 1e-9  # noise of which nothing is left
DETECTOR = Detector(
    name="audit.bounds.one_run.epsilon",
    statistic=f"ε refuted at 95 % (median), above {CLAIMED:g}",
    fires=lambda epsilon: epsilon > CLAIMED,
)
_OPTIONS = {"rounds": 12, "sampling": 0.5, "clip": 0.03, "rate": 1.0, "momentum": 0.0}
_SCHEMA = Schema(
    genes=tuple(f"g{i}" for i in range(GENES)), labels=tuple(f"class {k}" for k in range(LABELS)), high=6.0
)
_FACTS = loop.Facts(schema=_SCHEMA, donors_bound=PEOPLE + CANARIES, delta=DELTA, rows=0)
_BATCH = _OPTIONS["sampling"] * _FACTS.donors_bound
_LOOSE = 1e6  # no gradient is as long


class ClipsTheBatch(Linear):
    """The gradient of the sample's mean is clipped, then counted once a donor."""

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the clipped mean as often as there are donors."""
        if not question.payload:
            return super().answer(question, sample, rng)
        total = super().answer(replace(question, bound=_LOOSE), sample, rng).value
        n = sample.n_donors
        means = np.tile(total / max(1, n), (n, 1))
        return sum_rows(means, np.arange(n), np.ones(n, np.bool_), question.bound)


class ClipsTooFar(Linear):
    """A donor's gradient is clipped to √B times what the noise is for, B the expected batch."""

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the sum clipped too loosely."""
        wider = math.sqrt(_BATCH) if question.payload else 1.0
        return super().answer(replace(question, bound=wider * question.bound), sample, rng)


def verdicts(quick: bool) -> Iterator[Verdict]:
    """Yield the verdicts on clipping and noise, and what noise of a larger ε would have shown."""
    runs, twin_runs = (RUNS[:2], TWIN_RUNS[:2]) if quick else (RUNS, TWIN_RUNS)
    noised = classifier(CLAIMED)
    correct = found(noised, twin_runs)
    for bug, method in (
        ("no noise", noised.at(SILENT)),
        ("the batch's mean gradient is clipped", as_a(ClipsTheBatch, noised)),
        ("clip norm off by √B", as_a(ClipsTooFar, noised)),
    ):
        yield Verdict(bug=bug, detector=DETECTOR, broken=found(method, runs), correct=correct)
    for epsilon in POWER[2:3] if quick else POWER:
        seen = found(classifier(epsilon), twin_runs)
        yield Verdict(bug=f"noise for ε = {epsilon:g}", detector=DETECTOR, broken=seen, correct=correct, kind="power")


@functools.cache
def classifier(epsilon: float) -> Method:
    """Return the library's linear classifier with the noise that ``epsilon`` asks for."""
    return loop.method(loop.Kind(kind="linear", options=_OPTIONS), _FACTS, epsilon)


def found(method: Method, seeds: Sequence[int]) -> list[float]:
    """Return the ε that is refuted in each of several runs."""
    return [refuted(method, seed) for seed in seeds]


def refuted(method: Method, seed: int) -> float:
    """Return the ε that the canaries of one run refute."""
    rng = Root.simulation(seed, "zoo").stream("canaries").generator()
    shard, coins = _cohort(rng)
    arrays = loop.trained(method, shard, seed)
    scores = _margins(arrays, shard.x[PEOPLE:], shard.label[PEOPLE:])
    return one_run.epsilon(one_run.guess(scores, coins, GUESSED, GUESSED), DELTA).epsilon


def _cohort(rng: np.random.Generator) -> tuple[Shard, Array]:
    """Return people and canaries, the canaries' slots masked where their coin says out; and the coins."""
    n = PEOPLE + CANARIES
    label = np.concatenate([np.arange(PEOPLE) % LABELS, rng.integers(0, LABELS, CANARIES)])
    kinds = rng.normal(3, 0.4, (LABELS, GENES))
    people = kinds[label[:PEOPLE]] + rng.normal(0, 1, (PEOPLE, GENES))
    canaries = np.where(rng.random((CANARIES, GENES)) < 0.5, 0.0, _SCHEMA.high)
    coins = rng.random(CANARIES) < 0.5
    shard = Shard(
        x=np.clip(np.concatenate([people, canaries]), 0, _SCHEMA.high),
        label=label,
        donor=np.arange(n),
        donors=tuple(f"d{i}" for i in range(n)),
        mask=np.concatenate([np.ones(PEOPLE, np.bool_), coins]),
    )
    return shard, coins


def _margins(arrays: Mapping[str, Array], x: Array, label: Array) -> Array:
    """Return how far the model prefers each row's label to the others' mean, (rows,)."""
    rows = x.astype(np.float64) - arrays["centre"]
    logits = rows / np.linalg.norm(rows, axis=1, keepdims=True) @ arrays["weights"].T.astype(np.float64)
    return np.asarray(logits[np.arange(len(label)), label] - logits.mean(1))
