"""The utility suite: what a synthetic table is good for, always beside real rows halved against each other.

It reads real rows, so like the audit it is not differentially private and stays internal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fedgenome.audit.targets import Records
from fedgenome.errors import require
from fedgenome.query import Array
from fedgenome.utility import classify
from fedgenome.utility.classify import Score
from fedgenome.utility.metrics import FULL, Metric, Settings, Summary, Value
from fedgenome.utility.suites import UNREAD, Suite, suite_of

STATEMENT = "internal: computed from real people; without noise, so not differentially private"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Real:
    """The real rows at hand; all finite.

    Attributes:
        truth: What the table is judged against: tested on, compared with.
        train: What the table's generator was trained on; None: not at hand.
        holdout: Rows that the generator never saw, for distances to the closest record; None: ``truth``, where
            ``train`` is given.
    """

    truth: Records
    train: Records | None = None
    holdout: Records | None = None

    @property
    def unseen(self) -> Records:
        """``holdout``, or else ``truth``."""
        return self.truth if self.holdout is None else self.holdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One figure, of the table and of real rows.

    Attributes:
        metric: Which.
        whole: The whole table against all of ``truth``.
        synthetic: As many table rows as ``real`` takes, against the same rows, over repeats.
        real: Real rows in the table's place: one half against the other.
    """

    metric: Metric
    whole: Value
    synthetic: Summary
    real: Summary

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**self.metric.to_json(), **{n: getattr(self, n).to_json() for n in ("whole", "synthetic", "real")}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Utility:
    """What a synthetic table is good for.

    Attributes:
        scores: Classifiers trained on the whole table, on ``train`` if given, and the majority line, with intervals.
        results: Every figure, beside the real baseline.
        rows: Rows of each side, by its name.
        settings: How thoroughly it was measured.
        seed: The same seed gives the same result.
    """

    scores: tuple[Score, ...]
    results: tuple[Result, ...]
    rows: Mapping[str, int]
    settings: Settings
    seed: int

    def __getitem__(self, name: str) -> Result:
        """Return the result of the metric ``name``."""
        return next(result for result in self.results if result.metric.name == name)

    def to_json(self) -> dict[str, Any]:
        """Return everything a report shows, as plain JSON values."""
        return {
            "statement": STATEMENT,
            "seed": self.seed,
            "rows": dict(self.rows),
            "settings": asdict(self.settings),
            "intervals": {
                "scores": "95 % percentile bootstrap over test donors",
                "metrics": f"smallest to largest of {self.settings.repeats} repeats",
            },
            "scores": [score.to_json() for score in self.scores],
            "metrics": [result.to_json() for result in self.results],
        }


def utility(
    synthetic: Records,
    real: Real,
    *,
    seed: int,
    settings: Settings = FULL,
    progress: Progress = lambda step: None,
    dosages: bool = False,
) -> Utility:
    """Judge a synthetic table by all figures, each beside real rows in the table's place.

    In every repeat two disjoint sets of real donors are drawn: A stands in for the table, B is the truth. Without
    ``train`` they are the halves of ``truth``, by donor and balanced by class; with it A is half of ``train`` and B is
    all of ``truth``. As many rows of the table as A has (all, if it has fewer) are judged against the same B.

    Args:
        synthetic: The table; labels coded as the real ones; finite.
        real: The real rows.
        seed: Repeat r draws from ``numpy.random.default_rng([seed, r])``.
        settings: How thoroughly.
        progress: Told each step's name.
        dosages: Rows are of dosages: figures of genotypes in place of those of expression.

    Raises:
        SpecError: genes differ, a side is empty, or the real rows cannot be halved; names which.
    """
    sides = {"synthetic": synthetic, "truth": real.truth, "train": real.train, "holdout": real.holdout}
    given = {name: side for name, side in sides.items() if side is not None}
    _check(given)
    require(real.train is not None or len(real.truth.units) >= 2, "at least two real donors to halve, or training rows")
    progress("classifiers")
    scores = classify.evaluate(real.train, real.truth, synthetic, np.random.default_rng(seed), settings)
    progress("whole table")
    suite = suite_of(dosages)
    rng = np.random.default_rng([seed, settings.repeats])
    whole = classify.whole(scores, "synthetic") | _whole(synthetic, real, rng, settings, suite)
    pairs = []
    for repeat in range(settings.repeats):
        progress(f"halves {repeat + 1} of {settings.repeats}")
        pairs.append(_repeat(synthetic, real, np.random.default_rng([seed, repeat]), settings, suite))
    results = tuple(
        Result(
            metric=metric,
            whole=whole[metric.name],
            synthetic=Summary.of([ours[metric.name] for ours, _ in pairs]),
            real=Summary.of([theirs[metric.name] for _, theirs in pairs]),
        )
        for metric in metrics(settings, dosages=dosages)
    )
    rows = {name: len(side) for name, side in given.items()}
    return Utility(scores=scores, results=results, rows=rows, settings=settings, seed=seed)


def metrics(settings: Settings, *, dosages: bool = False) -> tuple[Metric, ...]:
    """Return every figure of the suite, in the order of its tables."""
    suite = suite_of(dosages)
    return (*classify.metrics(settings), *(metric for family in suite.families for metric in family.METRICS))


def halves(records: Records, rng: np.random.Generator) -> tuple[Records, Records]:
    """Return two disjoint halves, by donor and balanced by each donor's first label.

    Raises:
        SpecError: fewer than two donors.
    """
    units, first = np.unique(records.owner, return_index=True)
    require(len(units) >= 2, "at least two donors (or rows without donors) to halve", donors=len(units))
    order = rng.permutation(len(units))
    order = order[np.argsort(records.label[first][order], kind="stable")]
    return records.of(units[order[::2]]), records.of(units[order[1::2]])


def finite(records: Records, low: float) -> Records:
    """Return ``records`` with "not measured" counted as ``low``, the smallest public value."""
    return replace(records, x=np.nan_to_num(records.x, nan=low))


def _check(sides: Mapping[str, Records]) -> None:
    genes = {name: side.x.shape[1] for name, side in sides.items()}
    require(len(set(genes.values())) == 1, "the same number of genes everywhere", **genes)
    for name, side in sides.items():
        require(len(side) > 0, f"at least one row in {name}")
        require(bool(np.isfinite(side.x).all()), f"finite values in {name}")


def _whole(table: Records, real: Real, rng: np.random.Generator, settings: Settings, suite: Suite) -> dict[str, Value]:
    found = suite.true(table, real.truth, rng, settings)
    if real.train is None:
        return found | suite.unread(UNREAD)
    return found | suite.near(table, real.train, real.unseen, rng, settings)


def _repeat(
    synthetic: Records, real: Real, rng: np.random.Generator, settings: Settings, suite: Suite
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the figures of the table and of real rows in its place, against the same real rows."""
    half, truth = halves(real.truth, rng) if real.train is None else (_half(real.train, rng), real.truth)
    table = _some(synthetic, len(half), rng)
    seed = int(rng.integers(2**31))

    def measured(side: Records) -> dict[str, Value]:
        drawn = np.random.default_rng(seed)
        return classify.measure(side, truth, drawn, settings) | suite.true(side, truth, drawn, settings)

    ours, theirs = measured(table), measured(half)
    if real.train is None or len(real.unseen.units) < 2:
        nothing = suite.unread(UNREAD if real.train is None else "needs two unseen donors")
        return ours | nothing, theirs | nothing
    fresh, unseen = halves(real.unseen, rng)
    near = [suite.near(side, real.train, unseen, np.random.default_rng(seed), settings) for side in (table, fresh)]
    return ours | near[0], theirs | near[1]


def _half(records: Records, rng: np.random.Generator) -> Records:
    return halves(records, rng)[0] if len(records.units) > 1 else records


def _some(records: Records, most: int, rng: np.random.Generator) -> Records:
    chosen: Array = np.arange(len(records)) if len(records) <= most else rng.choice(len(records), most, replace=False)
    return records.rows(np.sort(chosen))
