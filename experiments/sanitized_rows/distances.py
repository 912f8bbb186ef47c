"""Figure 2 of the study of DeepType: how far sanitized rows lie from their originals, and who recognises them.

Every cohort is taken on three scales, as ε means nothing without one: in units of the public range, as the library
has it; on the cohort's own (log2, or z-scores); and rows of length 1. Which was the published work's is not known.
Laplace noise stands there twice. At metric noise's guarantee it is b = √K/ε a coefficient. With b = 1/ε, the whole ε on
each of them, it promises ε·√K a unit of Euclidean distance, √K times less, and lies *nearer* the original than metric
noise from three coefficients on: the published Figure 2, where metric noise is the nearer at every ε, cannot be of it.

What truncation leaves out of a row is orthogonal to the noise: squares of both distances add up to the whole one's.
Noise is drawn in floating point and claims nothing; that the library's exact noise lies as far is tested on two cells
a cohort. Rows are not clipped to the range again: clipping reads the sanitized row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.cells import Cache
from experiments.deeptype import people, sanitizers, worlds
from experiments.harness import Target
from experiments.sanitized_rows import exactness, nearest
from fedgenome.sanitize.bases import BASES
from fedgenome.study import Sanitize

Row = dict[str, Any]
Array = npt.NDArray[np.float64]

METRIC, EQUAL, EACH, NONE = "metric", "Laplace, equal guarantee", "Laplace, b = 1/ε", "no noise"
RANGE, RAW, UNIT = "range", "own units", "length 1"
SCALES = RANGE, RAW, UNIT
KEPT: tuple[int | str, ...] = (10, 25, 50, 100, "all")
EPSILONS: tuple[float | None, ...] = (25.0, 50.0, 100.0, 200.0, 400.0, None)
COMPARED = 50  # K of other scales than the range
SECTION = "Figure 2: distances and linkage"
CHECK = "check"  # of rows that say whether noise and geometry are what they are taken for
ALARM = 1e-3  # chance that exact noise is taken for other noise


@dataclass(frozen=True, slots=True)
class Cell:
    """One table of sanitized rows."""

    cohort: str
    scale: str
    keep: int | str
    epsilon: float | None
    mechanism: str
    seed: int

    @property
    def key(self) -> str:
        """Every setting, in one line."""
        return f"distances {self.cohort} {self.scale} {self.keep} {self.epsilon} {self.mechanism} {self.seed}"

    def spec(self, genes: int) -> Sanitize:
        """Return the sanitizer; its ε is what it promises by Euclidean distance."""
        kind = "metric" if self.mechanism in (METRIC, NONE) else "laplace"
        spec = Sanitize.model_validate({"kind": kind, "keep": self.keep, "epsilon": self.epsilon})
        if self.mechanism != EACH or self.epsilon is None:
            return spec
        return spec.model_copy(update={"epsilon": self.epsilon * math.sqrt(spec.kept(genes))})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A cohort's rows on one scale, one a person: all coefficients, and the largest distance of two possible rows."""

    coefficients: Array
    diameter: float

    @property
    def genes(self) -> int:
        """How many coefficients there are."""
        return int(self.coefficients.shape[1])


def measure_distances(
    name: str, seeds: Sequence[int], say: Callable[[str], None], kept: Cache[Row] | None = None
) -> list[Row]:
    """Return a row for each scale, K, ε and mechanism of a cohort, over all seeds, and one of checks.

    Distances are means over rows; shares are over people (one row each), AUCs and ranks means over seeds. Intervals
    are 95 %, as wide as one seed's: the same people are in every table.

    Args:
        name: Of :data:`people.COHORTS`; the simulated one has all 20,000 genes here.
        seeds: Of the noise.
        say: Is told of progress.
        kept: What was measured before.
    """
    found = people.simulated(worlds.GENES) if name == people.SIMULATED else people.read(name)
    return measured(found, seeds, say, kept or Cache(folder=None))


def measured(who: people.People, seeds: Sequence[int], say: Callable[[str], None], kept: Cache[Row]) -> list[Row]:
    """Return the rows of :func:`measure_distances` of a cohort at hand."""
    rows: list[Row] = []
    for scale in SCALES:
        table = on_scale(who, scale)
        for keep in KEPT if scale == RANGE else (COMPARED,):
            if keep != "all" and int(keep) > table.genes:
                continue
            say(f"{who.name}, {scale}: K = {keep}")
            for epsilon, mechanism in mechanisms():
                first = Cell(who.name, scale, keep, epsilon, mechanism, seeds[0])
                cells = [replace(first, seed=seed) for seed in seeds]
                rows.append(_pooled(first, table, [kept.get(each, partial(one, each, table)) for each in cells]))
    return [*rows, {"section": f"{SECTION}, checks", "mechanism": CHECK, **exactness.checks(who, seeds)}]


def mechanisms() -> Iterator[tuple[float | None, str]]:
    """Yield each ε with each mechanism; without noise there is one."""
    for epsilon in EPSILONS:
        yield from ((epsilon, each) for each in ((NONE,) if epsilon is None else (METRIC, EQUAL, EACH)))


def on_scale(who: people.People, scale: str) -> Table:
    """Return a cohort's rows on a scale of :data:`SCALES`, each person's first row."""
    schema, x = who.schema, who.x[np.unique(who.owner, return_index=True)[1]].astype(np.float64)
    span = schema.high - schema.low
    diameter = math.sqrt(x.shape[1])
    if scale != RANGE:
        x, diameter = schema.low + span * x, span * diameter
    if scale == UNIT:
        x, diameter = x / np.linalg.norm(x, axis=1, keepdims=True), math.sqrt(2) if schema.low >= 0 else 2.0
    return Table(coefficients=BASES["dct"].forward(x, x.shape[1]), diameter=diameter)


def one(cell: Cell, table: Table) -> Row:
    """Return what one table of sanitized rows shows."""
    spec, n = cell.spec(table.genes), len(table.coefficients)
    k, rng = spec.kept(table.genes), np.random.default_rng([41, cell.seed, *cell.key.encode()])
    originals = table.coefficients[:, :k]
    rest = (table.coefficients[:, k:] ** 2).sum(1)
    noise = sanitizers.noise(spec, n, k, rng)
    squares = (noise**2).sum(1)
    rate = _rate(spec, k)
    found = nearest.distances(originals + noise, originals, rest, spec.kind, rate)
    split = nearest.Split.drawn(n, rng)
    whole, short = nearest.ranks(found.whole, rng), nearest.ranks(found.kept, rng)
    own = None if found.own is None else nearest.ranks(found.own, rng)
    return {
        "distance": float(np.sqrt(rest + squares).mean()),
        "truncation": float(np.sqrt(rest).mean()),
        "noise": float(np.sqrt(squares).mean()),
        "noise, rms": float(np.sqrt(squares.mean())),
        "linked": int((whole == 1).sum()),
        "linked by K": int((short == 1).sum()),
        "linked, likeliest": None if own is None else int((own == 1).sum()),
        "median rank": float(np.median(whole)),
        "median rank by K": float(np.median(short)),
        "AUC, nearest": nearest.nearest_auc(found.kept, split),
        "AUC, ratio": None if found.own is None else nearest.ratio_auc(found.own, split),
    }


def _rate(spec: Sanitize, k: int) -> float | None:
    """Return the rate of the noise by its own norm."""
    if spec.epsilon is None or spec.kind == "metric":
        return spec.epsilon
    return spec.epsilon / math.sqrt(k)


def _pooled(cell: Cell, table: Table, figures: Sequence[Row]) -> Row:
    spec, n = cell.spec(table.genes), len(table.coefficients)
    k = spec.kept(table.genes)
    means = ("distance", "truncation", "noise", "noise, rms", "median rank", "median rank by K")
    mean = {name: float(np.mean([each[name] for each in figures])) for name in means}
    told: Row = {
        "section": SECTION,
        "cohort": cell.cohort,
        "people": n,
        "scale": cell.scale,
        "K": cell.keep,
        "epsilon": "none" if cell.epsilon is None else cell.epsilon,
        "mechanism": cell.mechanism,
        "promised a unit": spec.epsilon,
        "promised, diameter": None if spec.epsilon is None else spec.epsilon * table.diameter,
        **{name: mean[name] for name in means[:4]},
        "noise, predicted": predicted(spec, k),
    }
    for name in ("linked", "linked by K", "linked, likeliest"):
        hits = [each[name] for each in figures]
        told[name] = None if None in hits else nearest.share(float(np.mean(hits)), n)
    told |= {"chance": 1 / n} | {name: mean[name] for name in means[4:]}
    for name in ("AUC, nearest", "AUC, ratio"):
        every = [each[name] for each in figures]
        told[name] = None if None in every else np.mean(every, axis=0).tolist()
    return told


def predicted(spec: Sanitize, k: int) -> float:
    """Return the length of noise by its law: the mean K/ε of metric noise, the root mean square b·√2K of Laplace's."""
    if spec.epsilon is None:
        return 0.0
    return k / spec.epsilon if spec.kind == "metric" else math.sqrt(2 * k) * math.sqrt(k) / spec.epsilon


def targets(rows: Sequence[Mapping[str, Any]]) -> list[Target]:
    """Return what was promised of distances."""
    checked = [row for row in rows if row["mechanism"] == CHECK]
    noised = {
        (row["cohort"], row["scale"], row["epsilon"], row["mechanism"]): row["noise"]
        for row in rows
        if row.get("K") == COMPARED and row["mechanism"] in (METRIC, EQUAL)
    }
    ratios = [noised[*key[:3], EQUAL] / noise for key, noise in noised.items() if key[3] == METRIC]
    laws = [
        abs(row["noise" if row["mechanism"] == METRIC else "noise, rms"] / row["noise, predicted"] - 1)
        for row in rows
        if row["mechanism"] in (METRIC, EQUAL, EACH)
    ]
    worst = max((abs(ratio - 1.4) for ratio in ratios), default=math.inf)
    off = max((row["squares off"] for row in checked), default=math.inf)
    p = min((row["exact noise, p"] for row in checked), default=0.0)
    return [
        Target(name="|squared distance / (truncation² + noise²) - 1|", value=off, target=1e-9, sense="at most"),
        Target(
            name="|Laplace/metric noise - 1.40|, equal guarantee, K = 50", value=worst, target=0.02, sense="at most"
        ),
        Target(name="|noise / predicted - 1|", value=max(laws, default=math.inf), target=0.02, sense="at most"),
        Target(name="p of exact noise as far as simulated, least of six", value=p, target=ALARM, sense="at least"),
    ]
