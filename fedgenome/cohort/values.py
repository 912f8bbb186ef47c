"""Numbers of a file → checked values within the public range: every row by itself, so that nothing is estimated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from fedgenome.cohort.shard import Array
from fedgenome.cohort.spec import CohortSpec
from fedgenome.cohort.table import Matrix, Table, dense
from fedgenome.errors import SpecError

COUNTS_TOTAL = 1e4  # what a row's counts are scaled to before log1p; a public constant
SCORES = 4.0  # normal scores of ranks that the public range spans to either side of its middle
UNCALLED = -1  # in place of a dosage
_CHUNK = 1 << 20  # values held dense at a time, beside the result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """Values ready for a study.

    Attributes:
        x: float32 (rows, genes), within the range.
        clipped: Share of values that lay beyond the range.
        filled: Share of values that were not measured.
    """

    x: Array
    clipped: float
    filled: float


def values(table: Table, kept: Array, columns: list[int], spec: CohortSpec) -> Values:
    """Return checked values (rows kept, columns) on log scale or as scores of ranks, within the range.

    Counts become log1p(1e4 · count / the row's total over all genes of the file). A sparse matrix is made dense
    some rows at a time. NaN on log scale and a dosage not called become ``spec.fill``, where there is one. Codes of
    tokens stay as they are.

    Raises:
        SpecError: a value breaks the scale's rule; names row, gene and value.
    """
    rows = tuple(table.rows[i] for i in kept)
    x = table.x if len(kept) == len(table.rows) else table.x[kept]
    _check_kind(table, spec)
    totals = None
    if spec.scale == "counts":
        # A row's total runs over all genes of the file, so all of them must be counts.
        for rule in (_FINITE, _NOT_NEGATIVE, _WHOLE):
            _refuse(table.source, x, rows, table.genes, rule)
        totals = np.maximum(np.asarray(x.sum(axis=1, dtype=np.float64)).reshape(-1, 1), 1.0)  # an empty row stays zero
    x = x if columns == list(range(len(table.genes))) else x[:, columns]
    if totals is None:
        _refuse(table.source, x, rows, [table.genes[i] for i in columns], _rule(spec))
    return _placed(x, totals, spec)


def _rule(spec: CohortSpec) -> _Rule:
    """Return what values must be, other than counts."""
    if spec.tokens is not None:
        said = f"codes 0, 1 … {spec.tokens.size} of tokens, as scale = 'codes'"
        return _Rule(lambda v: (v < 0) | (v > spec.high) | (v != np.floor(v)), said)
    if spec.scale == "dosage":
        return _DOSAGE if spec.fill is None else _DOSAGE_OR_NOT
    return _FINITE if spec.fill is None else _NOT_INF


def _check_kind(table: Table, spec: CohortSpec) -> None:
    """Refuse codes and dosages that are read as anything else, and codes of other tokens than the file says."""
    kind = "dosage" if table.dosages else None if table.tokens is None else "codes"
    if kind is not None and spec.scale != kind:
        holds = "genotypes" if table.dosages else "codes of tokens"
        raise SpecError(f"{table.source}: expected scale = {kind!r}, as the file holds {holds}, got {spec.scale!r}")
    if table.tokens is not None and table.tokens != spec.tokens:
        rule = f"expected tokens of {table.tokens}, which the file holds"
        raise SpecError(f"{table.source}: {rule}, got {spec.tokens}")


def _placed(x: Matrix, totals: Array | None, spec: CohortSpec) -> Values:
    placed = np.empty(x.shape, np.float32)
    clipped = filled = 0
    step = max(1, _CHUNK // max(1, x.shape[1]))
    for start in range(0, x.shape[0], step):
        part = dense(x[start : start + step])
        if totals is not None:
            part = np.log1p(part.astype(np.float64) * (COUNTS_TOTAL / totals[start : start + step]))
        part = np.asarray(part, None if part.dtype.kind == "f" else np.float64)
        part = np.where(part == UNCALLED, np.nan, part) if spec.scale == "dosage" else part
        part = scores(part, spec.low, spec.high) if spec.batch == "ranks" else part
        unknown = np.isnan(part)
        clipped += int(np.count_nonzero((part < spec.low) | (part > spec.high)))
        filled += int(np.count_nonzero(unknown))
        within = np.clip(part, spec.low, spec.high)
        placed[start : start + step] = within if spec.fill is None else np.where(unknown, spec.fill, within)
    every = max(placed.size, 1)
    return Values(x=placed, clipped=clipped / every, filled=filled / every)


def scores(x: Array, low: float, high: float) -> Array:
    """Return each row's normal scores of its own ranks, four of them to either side of the middle of [low, high].

    Ties share the mean of their ranks; NaN stays NaN and has no rank. A row's scores depend on no other row, and
    not on any rising function that its values went through.

    Args:
        x: (rows, genes).
        low: Lower end of the public range.
        high: Upper end.

    >>> scores(np.array([[1.0, 2.0, 3.0], [10.0, 500.0, 500.0]]), -4.0, 4.0).round(2)
    array([[-0.97,  0.  ,  0.97],
           [-0.97,  0.43,  0.43]])
    """
    from scipy import stats  # slow to import, and only this function needs it

    if not x.size:
        return x
    measured = np.isfinite(x)
    ranks = stats.rankdata(np.where(measured, x, np.inf), axis=1)  # NaN last, behind all that were measured
    known = np.maximum(measured.sum(axis=1, keepdims=True), 1)
    with np.errstate(invalid="ignore"):
        normal = special.ndtri(np.where(measured, (ranks - 0.5) / known, 0.5))
    placed: Array = (low + high) / 2 + normal * (high - low) / (2 * SCORES)
    return np.where(measured, placed, np.nan)


def clip(x: Array, low: float, high: float) -> tuple[Array, float]:
    """Return the values within [low, high] and the share that was not."""
    outside = np.count_nonzero((x < low) | (x > high))
    return np.clip(x, low, high), outside / max(x.size, 1)


@dataclass(frozen=True, slots=True)
class _Rule:
    broken: Callable[[Array], Array]  # elementwise
    text: str


_FINITE = _Rule(
    lambda v: ~np.isfinite(v),
    "finite values (set fill on log scale, fill it, remove the row, or leave the gene out)",
)
_NOT_INF = _Rule(np.isinf, "finite values, or NaN for what was not measured")
_NOT_NEGATIVE = _Rule(lambda v: v < 0, "counts >= 0, as scale = 'counts' (is this layer on log scale?)")
_WHOLE = _Rule(lambda v: v != np.floor(v), "whole counts, as scale = 'counts' (is this layer on log scale?)")
_DOSAGE = _Rule(
    lambda v: ~np.isin(v, (0, 1, 2)),
    "dosages 0, 1 or 2, as scale = 'dosage' (for -1, not called: set fill, or leave the variant or person out)",
)
_DOSAGE_OR_NOT = _Rule(
    lambda v: ~(np.isin(v, (UNCALLED, 0, 1, 2)) | np.isnan(v)),
    "dosages 0, 1, 2, or -1 for not called, as scale = 'dosage'",
)


def _refuse(source: str, x: Matrix, rows: Sequence[str], genes: Sequence[str], rule: _Rule) -> None:
    """Refuse a matrix with a value that breaks ``rule``, naming the first in row order and how many there are."""
    row, column, value = _broken(x, rule)
    if row.size:
        where = f"{source}: row {rows[row[0]]!r}, gene {genes[column[0]]!r}"
        raise SpecError(f"{where}: expected {rule.text}, got {value[0]:g} (in all {row.size} such values)")


def _broken(x: Matrix, rule: _Rule) -> tuple[Array, Array, Array]:
    """Return row, column and value of every number that breaks ``rule``; an implicit zero breaks none."""
    if isinstance(x, np.ndarray):
        row, column = np.nonzero(rule.broken(x))
        return row, column, x[row, column]
    at = np.flatnonzero(rule.broken(x.data))
    return np.searchsorted(x.indptr, at, side="right") - 1, x.indices[at], x.data[at]
