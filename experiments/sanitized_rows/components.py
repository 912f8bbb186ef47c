"""A basis learned from public people, beside the two that know nobody: what each keeps at an equal guarantee.

Half of a cohort plays the public: principal components about its mean are the basis, in which the other half is
sanitized. Like the first K cosines they are orthonormal, so that no two rows lie further apart in coefficients than
they do themselves: the guarantee is the same, and so is the noise. Public people of the same study are the best that
could be had; those of another lie further off. Four fifths of the other half, sanitized, train a linear classifier of
subtypes, which reads the rest as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.cells import Cache
from experiments.deeptype import people, sanitizers
from experiments.harness import Target
from experiments.sanitized_rows import nearest
from experiments.synthesis.judge import interval
from fedgenome.sanitize.bases import BASES, Basis
from fedgenome.study import Sanitize

Row = dict[str, Any]
Array = npt.NDArray[np.float64]

PCA = "public components"
KEPT = (10, 25, 50)
EPSILONS: tuple[float | None, ...] = (25.0, 50.0, 100.0, 200.0, None)
TEST = 0.2
SECTION = "Bases at an equal guarantee"
_MOST = 50  # components that are ever kept
_RIDGE = 1.0  # penalty


@dataclass(frozen=True, slots=True)
class Cell:
    """One sanitized half of a cohort."""

    cohort: str
    basis: str
    keep: int
    epsilon: float | None
    seed: int

    @property
    def key(self) -> str:
        """Every setting, in one line."""
        return f"components {self.cohort} {self.basis} {self.keep} {self.epsilon} {self.seed}"


def components(public: Array, most: int = _MOST) -> Basis:
    """Return the principal directions of public rows about their mean, the widest ones first, at most ``most``."""
    middle = public.mean(0)
    directions = np.linalg.svd(public - middle, full_matrices=False)[2][:most].T
    return Basis(
        forward=lambda rows, keep: (rows - middle) @ directions[:, :keep],
        inverse=lambda coefficients, genes: middle + coefficients @ directions[:, : coefficients.shape[1]].T,
    )


def measure_bases(
    name: str, seeds: Sequence[int], say: Callable[[str], None], kept: Cache[Row] | None = None
) -> list[Row]:
    """Return a row for each basis, K and ε of a cohort, metric noise on the range's scale, over all seeds.

    Args:
        name: Of :data:`people.COHORTS`.
        seeds: Of halves and noise; intervals of accuracies and shares are Student's over them.
        say: Is told of progress.
        kept: What was measured before.
    """
    who, kept = people.read(name), kept or Cache(folder=None)
    rows = []
    for basis in (*BASES, PCA):
        say(f"{name}: {basis}")
        for keep in KEPT:
            for epsilon in EPSILONS:
                cells = [Cell(name, basis, keep, epsilon, seed) for seed in seeds]
                rows.append(_pooled(cells[0], [kept.get(cell, partial(one, cell, who)) for cell in cells]))
    return rows


def one(cell: Cell, who: people.People) -> Row:
    """Return what one sanitized half shows."""
    rng = np.random.default_rng([44, cell.seed])  # the same halves in every basis
    public = rng.permutation(who.number) < who.number // 2
    x = who.x.astype(np.float64)
    own, label = x[~public[who.owner]], who.label[~public[who.owner]]
    basis = components(x[public[who.owner]]) if cell.basis == PCA else BASES[cell.basis]
    spec = Sanitize(kind="metric", keep=cell.keep, epsilon=cell.epsilon)
    originals = basis.forward(own, cell.keep)
    moved = originals + sanitizers.noise(spec, len(own), cell.keep, rng)
    short, rows = (basis.inverse(each, own.shape[1]) for each in (originals, moved))
    found = nearest.distances(moved, originals, np.zeros(len(own)), spec.kind, None)
    train, test = train_test_split(np.arange(len(own)), test_size=TEST, random_state=cell.seed, stratify=label)
    return {
        "distance": _apart(rows, own),
        "truncation": _apart(short, own),
        "noise": _apart(rows, short),
        "linked by K": float((nearest.ranks(found.kept, rng) == 1).mean()),
        "accuracy": accuracy(moved[train], label[train], originals[test], label[test]),
    }


def accuracy(x: Array, label: npt.NDArray[np.int64], others: Array, truth: npt.NDArray[np.int64]) -> float:
    """Return how often a ridge classifier of rows is right on others; it sees coefficients, which say all of a row."""
    fitted = make_pipeline(StandardScaler(), RidgeClassifier(alpha=_RIDGE)).fit(x, label)
    return float(fitted.score(others, truth))


def _apart(one: Array, other: Array) -> float:
    return float(np.linalg.norm(one - other, axis=1).mean())


def _pooled(cell: Cell, figures: Sequence[Row]) -> Row:
    told: Row = {
        "section": SECTION,
        "cohort": cell.cohort,
        "basis": cell.basis,
        "K": cell.keep,
        "epsilon": "none" if cell.epsilon is None else cell.epsilon,
    }
    told |= {name: float(np.mean([each[name] for each in figures])) for name in ("distance", "truncation", "noise")}
    for name in ("linked by K", "accuracy"):
        every = [each[name] for each in figures]
        told[name] = [float(np.mean(every)), *np.clip(interval(every), 0, 1).tolist()]
    return told


def targets(rows: Sequence[Mapping[str, Any]]) -> Iterator[Target]:
    """Yield: public components leave out less of a row than cosines, in every cohort and at every K."""
    without = {(row["cohort"], row["K"], row["basis"]): row for row in rows if row["epsilon"] == "none"}
    shares = [
        row["truncation"] / without[cohort, keep, "dct"]["truncation"]
        for (cohort, keep, basis), row in without.items()
        if basis == PCA
    ]
    name = "truncation by public components / by cosines, the largest"
    yield Target(name=name, value=max(shares), target=1.0, sense="at most")
