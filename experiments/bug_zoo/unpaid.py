"""Statistics of real rows that no query pays for: class counts, bin edges, scalers, and a release refined on real rows.

A shard notes each read of its values or labels; a desk charges the site's ledger before each answer and strikes out
what that answer read. Whatever is left when a release is made was read unpaid.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from experiments.bug_zoo.people import shard
from experiments.bug_zoo.verdicts import Detector, Verdict, anything, as_a
from experiments.synthesis import loop
from fedgenome.audit.targets import Records
from fedgenome.cohort.shard import Shard
from fedgenome.methods.base import DonorStreams
from fedgenome.methods.marginals import Marginals
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.privacy.ledger import Ledger
from fedgenome.query import Array, Question
from fedgenome.study import Plan, Schema

DETECTOR = Detector(
    name="a tracing shard against privacy.ledger",
    statistic="reads of the shard outside charged queries, above 0",
    fires=anything,
)
DELTA, SEED = 1e-5, 3
SCHEMA = Schema(genes=tuple(f"g{i}" for i in range(20)), labels=("a", "b", "c"), high=6.0)
_PEOPLE, _ROWS = 300, 300
_FACTS = loop.Facts(schema=SCHEMA, donors_bound=_PEOPLE, delta=DELTA, rows=_ROWS)
_TRACED = frozenset({"x", "label"})
Release = Mapping[str, Array]


class Traced(Shard):
    """A shard that notes each read of its values or labels in a list ``reads``, once it has one."""

    def __getattribute__(self, name: str) -> object:
        """Return the attribute, noted."""
        if name in _TRACED and (reads := object.__getattribute__(self, "__dict__").get("reads")) is not None:
            reads.append(name)
        return object.__getattribute__(self, name)


class Desk:
    """A site where every answer is charged first, and every read of the shard outside of one is kept.

    Args:
        people: The site's rows.
        folder: Of its ledger.
        epsilon: Of the one plan it reserves: marginals.
    """

    def __init__(self, people: Shard, folder: Path, epsilon: float) -> None:
        fields = {name: getattr(people, name) for name in ("x", "label", "donor", "donors", "mask")}
        self.shard = Traced(**fields)
        self.unpaid: list[str] = []
        object.__setattr__(self.shard, "reads", self.unpaid)
        self.method = as_a(Charged, loop.method(loop.Kind(kind="marginals"), _FACTS, epsilon), desk=self)
        self.ledger = Ledger(folder / "ledger.jsonl", "0" * 32)
        plan = Plan(mechanisms=self.method.plan(self.method.noise or 0.0))
        self.ledger.reserve("run", "study", plan, epsilon, DELTA)

    def paid(self, question: Question, answer: Callable[[], ClippedSum]) -> ClippedSum:
        """Return ``answer`` to a question that the ledger was charged for."""
        self.ledger.charge("run", question.mechanism)
        before = len(self.unpaid)
        made = answer()
        del self.unpaid[before:]
        return made

    def trained(self, method: Charged, shard: Shard) -> Release:
        """Return what ``method`` releases."""
        return loop.trained(method, shard, SEED)


@dataclass(frozen=True, kw_only=True)
class Charged(Marginals):
    """The library's marginals at a desk."""

    desk: Desk

    def answer(self, question: Question, sample: Shard, rng: DonorStreams) -> ClippedSum:
        """Return the library's answer, paid for first."""
        return self.desk.paid(question, lambda: Marginals.answer(self, question, sample, rng))


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on unpaid statistics."""
    for bug, epsilon, broken, correct in (
        ("class counts read off the labels", 1.0, own_counts, honest),
        ("bin edges at the data's quantiles", 1.0, own_edges, honest),
        ("rows scaled by their own mean and deviation", 1.0, own_scalers, honest),
        ("DP laundering: an ε = 10 table refined on real rows", 10.0, laundered, refined),
    ):
        yield DETECTOR.once(bug, reads(broken, epsilon), reads(correct, epsilon))


def reads(pipeline: Callable[[Desk], object], epsilon: float) -> int:
    """Return how often ``pipeline`` reads the shard unpaid."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(people(), Path(folder), epsilon)
        try:
            pipeline(desk)
        finally:
            desk.ledger.close()
        return len(desk.unpaid)


def people() -> Shard:
    """Return 300 people of three classes, one row each."""
    rng = np.random.default_rng(SEED)
    label = rng.choice(3, _PEOPLE, p=(0.6, 0.3, 0.1))
    x = rng.normal(2, 0.5, (3, 20))[label] + rng.normal(0, 1, (_PEOPLE, 20))
    return shard(x, label, SCHEMA.high)


# ---- What is paid for, and what is not -------------------------------------------------------------------


def honest(desk: Desk) -> Release:
    """The library's marginals: public edges, noisy counts."""
    return desk.trained(desk.method, desk.shard)


def own_counts(desk: Desk) -> Release:
    """Labels are to be drawn by the exact shares of the classes."""
    return {**honest(desk), "label_weights": np.bincount(desk.shard.label, minlength=3) / _PEOPLE}


def own_edges(desk: Desk) -> Release:
    """Bins of equally many values, as published code has them."""
    return edged(desk, desk.shard.x)


def edged(desk: Desk, x: Array) -> Release:
    """Return what marginals with bins at the quantiles of ``x`` release."""
    edges = tuple(map(float, np.quantile(x, (0.25, 0.5, 0.75))))
    return desk.trained(replace(desk.method, edges=(SCHEMA.low, *edges)), desk.shard)


def own_scalers(desk: Desk) -> Release:
    """A standard scaler fitted to the rows, before anything is clipped."""
    x = desk.shard.x
    return desk.trained(desk.method, replace(desk.shard, x=3 + (x - x.mean(0)) / x.std(0)))


def laundered(desk: Desk) -> Records:
    """A table with ε = 10, relabelled by a model of real rows and stretched to their variances: still called ε = 10."""
    table = _table(desk, SEED)
    return _refine(table, Records(x=desk.shard.x, label=desk.shard.label))


def refined(desk: Desk) -> Records:
    """The same refinement, fitted to more rows of the release: post-processing."""
    arrays = honest(desk)
    return _refine(_drawn(desk, arrays, SEED), _drawn(desk, arrays, SEED + 1))


def _table(desk: Desk, seed: int) -> Records:
    return _drawn(desk, honest(desk), seed)


def _drawn(desk: Desk, arrays: Release, seed: int) -> Records:
    return loop.table(desk.method, arrays, _ROWS, seed)


def _refine(table: Records, rows: Records) -> Records:
    model = LogisticRegression(max_iter=1000).fit(rows.x, rows.label)
    stretch = rows.x.std(0) / np.maximum(table.x.std(0), 1e-6)
    x = table.x.mean(0) + (table.x - table.x.mean(0)) * stretch
    return Records(x=x, label=np.asarray(model.predict(x)))
