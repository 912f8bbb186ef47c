"""New rows from a release folder: post-processing of what was paid for, by whoever holds the release."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from fedgenome import files, release
from fedgenome.cohort import counts
from fedgenome.cohort.values import COUNTS_TOTAL
from fedgenome.errors import SpecError, did_you_mean, require
from fedgenome.methods import registry
from fedgenome.methods.base import Generator
from fedgenome.query import Array
from fedgenome.release import Release, Synthetic
from fedgenome.study import Schema, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Public numbers by which log-normalised rows become counts; see :mod:`fedgenome.cohort.counts`.

    Attributes:
        size: Total counts of each row.
        dispersion: Of the negative binomial; 0: Poisson.
    """

    size: float = COUNTS_TOTAL
    dispersion: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to sample.

    Attributes:
        rows: How many in all.
        labels: Rows of a label; the others are drawn from the shares that the release paid for.
        seed: The same seed gives the same rows.
        method: Which method of the release; None: the one that made its synthetic data.
        counts: Turn the rows into counts; None: leave them as the study's values.
    """

    rows: int
    labels: Mapping[str, int]
    seed: int
    method: str | None = None
    counts: Counts | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampled:
    """Rows, and what their file says of them.

    Attributes:
        rows: The rows.
        method: Who generated them.
        schema: Their genes and labels.
        marks: ``uns["fedgenome"]``.
    """

    rows: Synthetic
    method: str
    schema: Schema
    marks: Mapping[str, str | bool | int | float]

    def of_labels(self) -> dict[str, int]:
        """Return how many rows each label has."""
        found = np.bincount(self.rows.label, minlength=len(self.schema.labels))
        return {name: int(n) for name, n in zip(self.schema.labels, found, strict=True)}

    def write(self, path: Path) -> None:
        """Write the rows as h5ad, whole or not at all.

        Raises:
            SpecError: there is no such folder, or a folder is in the way.
        """
        require(path.parent.is_dir(), f"--out: a folder {path.parent}")
        require(not path.is_dir(), f"--out: a file, {path} is a folder")
        files.replace(path, release.h5ad({self.method: self.rows}, self.schema, self.marks))


def sample(folder: Path, wish: Wish) -> Sampled:
    """Return rows drawn from a verified release.

    Raises:
        SpecError: the release is not whole or was altered; it holds no such method or label, or none that generates;
            more rows are asked for by label than in all; or counts cannot be made of the study's values.
    """
    found = release.load(folder)
    study = study_of(folder, found.card)
    method = _chosen(folder, found, wish.method)
    generator = _generator(study, method)
    arrays, schema = found.arrays[method], study.schema_
    if wish.counts is not None:
        _check_counts(schema, wish.counts)
    rng = np.random.default_rng(wish.seed)
    label = _labels(schema, np.asarray(generator.label_weights(arrays), np.float64), wish, rng)
    x = generator.sample(arrays, label, rng)
    if wish.counts is not None:
        x = counts.draw(counts.rates(x, wish.counts.size), rng, wish.counts.dispersion)
    marks = _marks(folder, found.card, method, wish)
    return Sampled(rows=Synthetic(x=x, label=label), method=method, schema=schema, marks=marks)


def study_of(folder: Path, card: Mapping[str, Any]) -> Study:
    """Return the Study that a release's card holds.

    Raises:
        SpecError: there is none, or the card was altered.
    """
    where = f"{folder / release.CARD}: study"
    try:
        study = Study.model_validate(card["study"]["spec"])
    except (KeyError, TypeError, pydantic.ValidationError) as fault:
        raise SpecError(f"{where}: expected the release's study, got {type(fault).__name__}") from None
    require(study.digest == card["study"].get("digest"), f"{where}.digest as its spec has it: the card was altered")
    return study


def _chosen(folder: Path, found: Release, named: str | None) -> str:
    if named is None:
        require(bool(found.synthetic), f"{folder}: a release with rows that a method generated")
        require(len(found.synthetic) == 1, f"--method: one of {', '.join(found.arrays)}")
        (named,) = found.synthetic
    if named not in found.arrays:
        near = did_you_mean(named, found.arrays, f"it holds {', '.join(found.arrays)}")
        raise SpecError(f"--method: expected a method of {folder}, got {named!r} ({near})")
    return named


def _generator(study: Study, method: str) -> Generator:
    built = registry.build_all(study)[method]
    if not isinstance(built, Generator):
        raise SpecError(f"--method: expected a method that generates rows, {method!r} tells labels")
    return built


def _labels(schema: Schema, weights: Array, wish: Wish, rng: np.random.Generator) -> Array:
    """Return label codes, int64 (rows,), sorted."""
    require(wish.rows >= 1, "-n: at least one row", rows=wish.rows)
    code = {name: k for k, name in enumerate(schema.labels)}
    for name, n in wish.labels.items():
        if name not in code:
            near = did_you_mean(name, code, f"it has {', '.join(schema.labels)}")
            raise SpecError(f"--label: expected a label of the release, got {name!r} ({near})")
        require(n >= 0, f"--label {name}: rows >= 0", rows=n)
    asked, left = sum(wish.labels.values()), wish.rows - sum(wish.labels.values())
    require(left >= 0, f"--label: at most the {wish.rows} rows of -n in all", rows=asked)
    fixed = [np.full(n, code[name]) for name, n in wish.labels.items()]
    free = weights * [name not in wish.labels for name in schema.labels]
    if left:
        rest = ", ".join(name for name in schema.labels if name not in wish.labels) or "none left"
        rule = f"--label: {wish.rows} rows, as -n asks, or other labels to draw the rest from ({rest})"
        require(float(free.sum()) > 0, rule, rows=asked)
        fixed.append(rng.choice(len(free), size=left, p=free / free.sum()))
    return np.sort(np.concatenate(fixed)).astype(np.int64)


def _check_counts(schema: Schema, asked: Counts) -> None:
    rule = (
        f"--counts: a study of log1p(counts to 1e4 a row), so a range within 0 and {counts.HIGHEST:.4g}; "
        "other scales cannot be turned into counts"
    )
    require(schema.low >= 0 and schema.high <= counts.HIGHEST, rule, low=schema.low, high=schema.high)
    require(asked.size > 0, "--size above 0", size=asked.size)
    require(asked.dispersion >= 0, "--dispersion of at least 0", dispersion=asked.dispersion)


def _marks(folder: Path, card: Mapping[str, Any], method: str, wish: Wish) -> dict[str, str | bool | int | float]:
    """Return what the file says: among it the digest of the card, which holds those of all other files."""
    epsilon = card["guarantee"]["epsilon"]
    told: dict[str, str | bool | int | float] = {
        **release.marks(card),
        "release": hashlib.sha256((folder / release.CARD).read_bytes()).hexdigest(),
        "method": method,
        "epsilon": "none" if epsilon is None else float(epsilon),
        "seed": wish.seed,
        "values": "study's scale",
    }
    if wish.counts is not None:
        kind = "Poisson" if wish.counts.dispersion == 0 else "negative binomial"
        told |= {"values": f"counts, {kind}", "size": wish.counts.size, "dispersion": wish.counts.dispersion}
    return told
