"""Expression cohorts: what to read (:class:`CohortSpec`), reading it with every refusal, fitting it to a study."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from fedgenome.cohort.datasets import DATASETS, Matrix, Table, dense, open_h5ad
from fedgenome.cohort.panel import panel
from fedgenome.cohort.shard import Array, repeated
from fedgenome.cohort.shard import Cohort as Cohort
from fedgenome.errors import SpecError, did_you_mean
from fedgenome.study import Schema, Strict

COUNTS_TOTAL = 1e4  # what a row's counts are scaled to before log1p; a public constant
# What pandas, R and anndata call an index that was written as a column. No gene symbol is among them.
_INDEX_NAME = re.compile(
    r"|x|id|_?index|level_0|unnamed: ?\d+|symbols?|barcodes?|(row|obs|var)[_. ]?names?"
    r"|(gene|cell|sample|patient|donor)s?([_. ]?(ids?|names?|symbols?))?",
    re.IGNORECASE,
)
_INDEX_ROWS = 10  # with fewer rows a gene may count 0, 1, 2, … by chance


class CohortSpec(Strict):
    """Which cohort to read and how. Ranges, classes and genes are public choices, never read off the data."""

    source: str = Field(min_length=1, description="name of a public dataset (pbmc68k), or path of an .h5ad file")
    label: str = Field(description="obs column that holds the class of a row")
    labels: tuple[str, ...] = Field(min_length=1, description="the public list of classes")
    donor: str | None = Field(default=None, description="obs column of donor ids; absent: every row is a unit")
    site: str | None = Field(default=None, description="obs column of hospitals, for split.by = 'column'")
    layer: str = Field(default="X", description="X, raw, or the name of a layer")
    scale: Literal["log", "counts"] = Field(description="log: used as it is; counts: to 1e4 a row, then log1p")
    panel: str | tuple[str, ...] | None = Field(
        default=None, description="public panel of genes: its name, a path, or a list; absent: every gene of the file"
    )
    low: float = Field(default=0.0, description="smallest value, public; values below are clipped")
    high: float = Field(description="largest value, public; values above are clipped")
    drop_unlabelled: bool = Field(default=False, description="leave out rows whose label is empty")
    public: bool = Field(default=False, description="declare a file's data public: only then a run may be seeded")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"expected low < high, got low={self.low}, high={self.high}")
        genes = self.panel if isinstance(self.panel, tuple) else None
        if genes == ():
            raise ValueError("expected at least one gene in panel, got none")
        for what, names in (("class in labels", self.labels), ("gene in panel", genes or ())):
            if "" in names:
                raise ValueError(f"expected a name for every {what}, got ''")
            if twice := repeated(names):
                raise ValueError(f"expected every {what} once, got {twice[0]!r} twice")
        return self


def read(spec: CohortSpec) -> Cohort:
    """Read a cohort: rows with a label, genes of the panel in panel order, log scale, clipped to the range.

    Counts become log1p(1e4 · count / the row's total over all genes of the file), a row at a time:
    nothing is estimated over donors.

    Raises:
        SpecError: file, layer, column, gene, label or value breaks a rule; one line says which and where.
    """
    dataset = DATASETS.get(spec.source)
    table = dataset.open(spec.layer) if dataset else open_h5ad(spec.source, spec.layer)
    _check_genes(table)
    columns, missing = _select(table, spec)
    label, kept = _labels(table, spec)
    x, clipped = _clip(_values(table, kept, columns, spec), spec.low, spec.high)
    return Cohort(
        name=spec.source,
        x=x,
        genes=tuple(table.genes[i] for i in columns),
        label=label,
        labels=spec.labels,
        rows=tuple(table.rows[i] for i in kept),
        donor=_owners(table, spec.donor, kept, "donor id"),
        site=_owners(table, spec.site, kept, "site"),
        row=dataset.row if dataset else "",
        public=dataset.public if dataset else spec.public,
        provenance=dataset.provenance if dataset else "",
        missing=missing,
        clipped=clipped,
    )


def owners(source: str, donor: str | None, layer: str = "X") -> frozenset[str]:
    """Return the privacy units of a file: its donors' ids or, without a donor column, its rows' names.

    Raises:
        SpecError: no such file, layer or column, or a row without an id.
    """
    dataset = DATASETS.get(source)
    table = dataset.open(layer) if dataset else open_h5ad(source, layer)
    return frozenset(_owners(table, donor, np.arange(len(table.rows)), "donor id") or table.rows)


def schema_of(cohort: Cohort, spec: CohortSpec) -> Schema:
    """Return the public facts of a study on this cohort: names only, and the spec's own range and classes."""
    return Schema(genes=cohort.genes, labels=cohort.labels, low=spec.low, high=spec.high, unit=cohort.unit)


def align(cohort: Cohort, schema: Schema) -> Cohort:
    """Return the cohort with the study's genes (by name only) and classes, in its order, clipped to its range.

    A gene the cohort lacks is refused: as NaN it would silently void all of the site's rows.

    Raises:
        SpecError: a gene of the study is not in the cohort, a class of the cohort is not in the study, or
            one counts donors and the other rows.
    """
    if schema.unit != cohort.unit:
        raise SpecError(f"{cohort.name}: expected the study's unit {schema.unit!r}, got {cohort.unit!r}")
    where = {gene: i for i, gene in enumerate(cohort.genes)}
    if absent := [gene for gene in schema.genes if gene not in where]:
        raise SpecError(f"{cohort.name}: expected every gene of the study, {len(absent)} missing: {_some(absent)}")
    code = {label: i for i, label in enumerate(schema.labels)}
    used = [cohort.labels[i] for i in np.unique(cohort.label)]
    if strange := [label for label in used if label not in code]:
        raise SpecError(f"{cohort.name}: expected classes of the study ({_some(schema.labels)}), got {strange[0]!r}")
    recode = np.array([code.get(label, 0) for label in cohort.labels], np.int64)
    x, clipped = _clip(cohort.x[:, [where[gene] for gene in schema.genes]], schema.low, schema.high)
    return replace(
        cohort,
        x=x,
        genes=schema.genes,
        label=recode[cohort.label],
        labels=schema.labels,
        clipped=max(cohort.clipped, clipped),
    )


def _check_genes(table: Table) -> None:
    if table.x.dtype.kind not in "fiub":
        raise SpecError(f"{table.source}: expected a matrix of numbers, got values of type {table.x.dtype}")
    if twice := repeated(table.genes):
        more = f" (and {len(twice) - 1} more names)" if len(twice) > 1 else ""
        times = table.genes.count(twice[0])
        raise SpecError(f"{table.source}: expected every gene name once, got {twice[0]!r} {times} times{more}")
    named = [i for i, gene in enumerate(table.genes) if _INDEX_NAME.fullmatch(gene.strip())]
    for i in named or _row_counters(table.x):
        rule = "looks like an index column that was read as a gene: remove it from the file"
        raise SpecError(f"{table.source}: gene {table.genes[i]!r} (column {i + 1}) {rule}")


def _row_counters(x: Matrix) -> list[int]:
    """Return the columns that read 0, 1, 2, … or 1, 2, 3, … all the way down, as a row number does."""
    if x.shape[0] < _INDEX_ROWS:
        return []
    head = dense(x[:_INDEX_ROWS])
    starts = np.isin(head[0], (0, 1)) & (head == head[0] + np.arange(_INDEX_ROWS)[:, None]).all(axis=0)
    every = np.arange(x.shape[0])
    return [int(i) for i in np.flatnonzero(starts) if np.array_equal(dense(x[:, [i]]).ravel(), head[0, i] + every)]


def _select(table: Table, spec: CohortSpec) -> tuple[list[int], tuple[str, ...]]:
    """Return the columns of the panel's genes, by name only, and the genes that are not there."""
    if spec.panel is None:
        return list(range(len(table.genes))), ()
    wanted = panel(spec.panel) if isinstance(spec.panel, str) else spec.panel
    where = {gene: i for i, gene in enumerate(table.genes)}
    columns = [where[gene] for gene in wanted if gene in where]
    if not columns:
        turned = set(wanted) & set(table.rows)
        hint = "; the file's rows are genes: transpose it" if turned else f", such as {_some(table.genes, 3)}"
        rule = f"expected genes of the panel ({_some(wanted, 3)}), got none of them"
        raise SpecError(f"{table.source}: {rule} among {len(table.genes)} genes{hint}")
    return columns, tuple(gene for gene in wanted if gene not in where)


def _labels(table: Table, spec: CohortSpec) -> tuple[Array, Array]:
    """Return the label codes of the rows kept and the indices of those rows."""
    names = _obs(table, spec.label)
    blank = names.count("")
    field = f"{table.source}: obs[{spec.label!r}]"
    if blank == len(names):
        raise SpecError(f"{field}: expected labelled rows, got none among {len(names)}")
    if blank and not spec.drop_unlabelled:
        rule = "label them, or set drop_unlabelled = true"
        raise SpecError(f"{field}: expected a label for every row, {blank} of {len(names)} have none: {rule}")
    code = {label: i for i, label in enumerate(spec.labels)}
    for name, count in Counter(names).items():
        if name and name not in code:
            near = did_you_mean(name, spec.labels, f"labels = {_some(spec.labels)}")
            raise SpecError(f"{field}: expected only classes listed in labels, got {name!r} ({count} rows; {near})")
    kept = np.flatnonzero([bool(name) for name in names])
    return np.array([code[names[i]] for i in kept], np.int64), kept


def _owners(table: Table, column: str | None, kept: Array, what: str) -> tuple[str, ...] | None:
    if column is None:
        return None
    every = _obs(table, column)
    names = tuple(every[i] for i in kept)
    if blank := names.count(""):
        first = table.rows[kept[names.index("")]]
        rule = f"expected a {what} for every row, {blank} of {len(names)} have none, the first is row {first!r}"
        raise SpecError(f"{table.source}: obs[{column!r}]: {rule}")
    return names


def _obs(table: Table, column: str) -> list[str]:
    if column not in table.columns:
        near = did_you_mean(column, table.columns, f"the file has {_some(table.columns) or 'none'}")
        raise SpecError(f"{table.source}: expected an obs column {column!r}, got none of that name ({near})")
    return [text(value) for value in table.columns[column]]


def text(value: object) -> str:
    """Return a label or id as text; missing values and blanks give ''.

    Whole numbers lose their '.0': a column of integers becomes float as soon as one is missing.
    """
    if isinstance(value, str):
        return value if value.strip() else ""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else str(int(value)) if float(value).is_integer() else str(value)
    return str(value)


def _values(table: Table, kept: Array, columns: list[int], spec: CohortSpec) -> Array:
    """Return checked values (rows kept, columns) on log scale, of a floating type."""
    rows = tuple(table.rows[i] for i in kept)
    x = table.x if len(kept) == len(table.rows) else table.x[kept]
    if spec.scale == "log":
        x = x[:, columns]
        _refuse_values(table.source, x, rows, [table.genes[i] for i in columns], _FINITE)
        return np.asarray(dense(x), None if x.dtype.kind == "f" else np.float64)
    # A row's total runs over all genes of the file, so all of them must be counts.
    for rule in (_FINITE, _NOT_NEGATIVE, _WHOLE):
        _refuse_values(table.source, x, rows, table.genes, rule)
    totals = np.asarray(x.sum(axis=1, dtype=np.float64)).reshape(-1, 1)
    part = dense(x[:, columns]).astype(np.float64)
    return np.asarray(np.log1p(part * (COUNTS_TOTAL / np.maximum(totals, 1.0))))  # an empty row stays zero


@dataclass(frozen=True, slots=True)
class _Rule:
    broken: Callable[[Array], Array]  # elementwise
    text: str


_FINITE = _Rule(lambda v: ~np.isfinite(v), "finite values (fill it, remove the row, or leave the gene out)")
_NOT_NEGATIVE = _Rule(lambda v: v < 0, "counts >= 0, as scale = 'counts' (is this layer on log scale?)")
_WHOLE = _Rule(lambda v: v != np.floor(v), "whole counts, as scale = 'counts' (is this layer on log scale?)")


def _refuse_values(source: str, x: Matrix, rows: Sequence[str], genes: Sequence[str], rule: _Rule) -> None:
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
    cells = x.tocoo()
    bad = rule.broken(cells.data)
    return cells.row[bad], cells.col[bad], cells.data[bad]


def _clip(x: Array, low: float, high: float) -> tuple[Array, float]:
    """Return the values within [low, high] and the share that was not."""
    outside = np.count_nonzero((x < low) | (x > high))
    return np.clip(x, low, high), outside / max(x.size, 1)


def _some(names: Iterable[str], most: int = 8) -> str:
    every = list(names)
    return ", ".join(map(repr, every[:most])) + (f" and {len(every) - most} more" if len(every) > most else "")
