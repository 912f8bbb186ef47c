"""Expression cohorts: what to read (:class:`CohortSpec`), reading it with every refusal, fitting it to a study."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from fedgenome.cohort.camda import is_camda, open_camda
from fedgenome.cohort.cbioportal import is_cbioportal, open_cbioportal
from fedgenome.cohort.datasets import DATASETS
from fedgenome.cohort.h5ad import open_h5ad
from fedgenome.cohort.matlab import DEEPTYPE, Variables, is_matlab, open_matlab
from fedgenome.cohort.panel import panel, told
from fedgenome.cohort.shard import Array, repeated
from fedgenome.cohort.shard import Cohort as Cohort
from fedgenome.cohort.spec import CohortSpec as CohortSpec
from fedgenome.cohort.table import Columns, Matrix, Pick, Table, dense, everything
from fedgenome.cohort.values import clip, values
from fedgenome.errors import SpecError, did_you_mean
from fedgenome.study import Schema

# What pandas, R and anndata call an index that was written as a column. No gene symbol is among them.
_INDEX_NAME = re.compile(
    r"|x|id|_?index|level_0|unnamed: ?\d+|symbols?|barcodes?|(row|obs|var)[_. ]?names?"
    r"|(gene|cell|sample|patient|donor)s?([_. ]?(ids?|names?|symbols?))?",
    re.IGNORECASE,
)
_INDEX_ROWS = 10  # with fewer rows a gene may count 0, 1, 2, … by chance


def read(spec: CohortSpec) -> Cohort:
    """Read a cohort: rows with a label, genes of the panel in panel order, log scale, within the range.

    A row is read by itself: nothing is estimated over donors.

    Raises:
        SpecError: file, layer, column, gene, label or value breaks a rule; one line says which and where.
    """
    return of_table(_opened(spec), spec)


def of_table(table: Table, spec: CohortSpec) -> Cohort:
    """Read a cohort from a table that is open already, by the same rules; see :func:`read`."""
    dataset = DATASETS.get(spec.source)
    _check_genes(table, spec)
    _check_selected(table, spec)
    columns, missing, panel = _select(table, spec)
    label, kept = _labels(table, spec)
    donor = _owners(table, spec.donor, kept, "donor id")
    if spec.rows_per_donor is not None and donor is not None:
        some = capped(donor, [table.rows[i] for i in kept], spec.rows_per_donor)
        label, kept, donor = label[some], kept[some], tuple(donor[i] for i in some)
    ready = values(table, kept, columns, spec)
    return Cohort(
        name=spec.source,
        x=ready.x,
        genes=tuple(table.genes[i] for i in columns),
        label=label,
        labels=spec.labels,
        rows=tuple(table.rows[i] for i in kept),
        donor=donor,
        site=_owners(table, spec.site, kept, "site"),
        row=dataset.row if dataset else "",
        public=dataset.public if dataset else spec.public,
        provenance=dataset.provenance if dataset else "",
        panel=panel,
        missing=missing,
        clipped=ready.clipped,
        filled=ready.filled,
    )


def capped(donor: Sequence[str], rows: Sequence[str], most: int) -> Array:
    """Return the indices of at most ``most`` rows of each donor, rising.

    A row's coin is a digest of its donor's id and its own name: which rows are kept depends neither on what they
    hold nor on other donors. Coins hide nothing.
    """
    coins = [coin(who, name) for who, name in zip(donor, rows, strict=True)]
    taken: Counter[str] = Counter()
    kept = []
    for i in sorted(range(len(rows)), key=coins.__getitem__):
        taken[donor[i]] += 1
        if taken[donor[i]] <= most:
            kept.append(i)
    return np.array(sorted(kept), np.int64)


def coin(donor: str, row: str) -> bytes:
    """Return the coin of a donor's row: the rows of the lowest are kept."""
    return hashlib.sha256(f"{len(donor)}\n{donor}{row}".encode()).digest()


def _opened(spec: CohortSpec) -> Table:
    """Open what the spec names; rows of other sites than ``only`` stay where they are."""

    def pick(columns: Columns) -> Array | None:
        if spec.only is None or spec.site is None:
            return None
        names = obs(spec.source, columns, spec.site)
        own = np.flatnonzero(np.isin(np.array(names, dtype=object), np.array(spec.only, dtype=object)))
        if not own.size:
            near = f"it has {_some(dict.fromkeys(names))}"
            raise SpecError(
                f"{spec.source}: obs[{spec.site!r}]: expected rows of {_some(spec.only)}, got none ({near})"
            )
        return own

    return open_source(spec.source, spec.layer, spec.annotation, pick, spec.matlab or DEEPTYPE)


def open_source(
    source: str, layer: str, annotation: str | None = None, pick: Pick = everything, names: Variables = DEEPTYPE
) -> Table:
    """Open a dataset by its name, a table (``.tsv``, ``data_mrna….txt``, or ``.gz``), a ``.mat`` or an h5ad file.

    Raises:
        SpecError: it is none of them, or cannot be read.
    """
    if is_camda(source):
        table = open_camda(source, annotation)
    elif annotation is not None:
        raise SpecError(f"{source}: expected annotation only with a .tsv, got {annotation}")
    elif is_cbioportal(source):
        table = open_cbioportal(source)
    elif is_matlab(source):
        table = open_matlab(source, names)
    elif source in DATASETS:
        table = DATASETS[source].open(layer)
    else:
        return open_h5ad(source, layer, pick, datasets=", ".join(DATASETS))
    chosen = pick(table.columns)
    return table if chosen is None else table.take(chosen)


def owners(source: str, donor: str | None, layer: str = "X", annotation: str | None = None) -> frozenset[str]:
    """Return the privacy units of a file: its donors' ids or, without a donor column, its rows' names.

    Raises:
        SpecError: no such file, layer or column, or a row without an id.
    """
    table = open_source(source, layer, annotation)
    return frozenset(_owners(table, donor, np.arange(len(table.rows)), "donor id") or table.rows)


def schema_of(cohort: Cohort, spec: CohortSpec) -> Schema:
    """Return the public facts of a study on this cohort: names only, and the spec's own range and classes."""
    return Schema(
        genes=cohort.genes,
        labels=cohort.labels,
        low=spec.low,
        high=spec.high,
        unit=cohort.unit,
        panel=cohort.panel,
        fill=spec.fill,
        lacking=spec.lacking,
        batch=spec.batch,
        rows_per_donor=spec.rows_per_donor,
        tokens=spec.tokens,
        dosages=spec.scale == "dosage",
    )


def align(cohort: Cohort, schema: Schema) -> Cohort:
    """Return the cohort with the study's genes (by name only) and classes, in its order, clipped to its range.

    A gene that the cohort lacks is the study's public ``fill`` in every row, or refused where there is none: as
    NaN it would silently void all of the site's rows.

    Raises:
        SpecError: a gene of the study is not in the cohort and not filled, or too many are, a class of the cohort
            is not in the study, or one counts donors and the other rows.
    """
    if schema.unit != cohort.unit:
        raise SpecError(f"{cohort.name}: expected the study's unit {schema.unit!r}, got {cohort.unit!r}")
    code = {label: i for i, label in enumerate(schema.labels)}
    used = [cohort.labels[i] for i in np.unique(cohort.label)]
    if strange := [label for label in used if label not in code]:
        raise SpecError(f"{cohort.name}: expected classes of the study ({_some(schema.labels)}), got {strange[0]!r}")
    recode = np.array([code.get(label, 0) for label in cohort.labels], np.int64)
    x, clipped, absent = _genes(cohort, schema)
    return replace(
        cohort,
        x=x,
        genes=schema.genes,
        label=recode[cohort.label],
        labels=schema.labels,
        clipped=max(cohort.clipped, clipped),
        missing=absent,
    )


def _genes(cohort: Cohort, schema: Schema) -> tuple[Array, float, tuple[str, ...]]:
    """Return the values of the study's genes, the share clipped, and the genes that the cohort lacks."""
    where = {gene: i for i, gene in enumerate(cohort.genes)}
    absent = tuple(gene for gene in schema.genes if gene not in where)
    if absent and schema.fill is None:
        raise SpecError(f"{cohort.name}: expected every gene of the study, {len(absent)} missing: {_some(absent)}")
    if len(absent) > schema.lacking * len(schema.genes):
        rule = f"expected at most {schema.lacking:.0%} of the study's {len(schema.genes)} genes to be missing"
        raise SpecError(f"{cohort.name}: {rule}, got {len(absent)}: {_some(absent)}")
    there = [i for i, gene in enumerate(schema.genes) if gene in where]
    x = np.full((len(cohort.rows), len(schema.genes)), schema.fill or 0.0, np.float32)
    x[:, there], clipped = clip(cohort.x[:, [where[schema.genes[i]] for i in there]], schema.low, schema.high)
    return x, clipped, absent


def _check_genes(table: Table, spec: CohortSpec) -> None:
    if table.x.dtype.kind not in "fiub":
        raise SpecError(f"{table.source}: expected a matrix of numbers, got values of type {table.x.dtype}")
    if twice := repeated(table.genes):
        more = f" (and {len(twice) - 1} more names)" if len(twice) > 1 else ""
        times = table.genes.count(twice[0])
        raise SpecError(f"{table.source}: expected every gene name once, got {twice[0]!r} {times} times{more}")
    if spec.tokens is not None:
        return
    named = [i for i, gene in enumerate(table.genes) if _INDEX_NAME.fullmatch(gene.strip())]
    for i in named or _row_counters(table.x):
        rule = "looks like an index column that was read as a gene: remove it from the file"
        raise SpecError(f"{table.source}: gene {table.genes[i]!r} (column {i + 1}) {rule}")


def _check_selected(table: Table, spec: CohortSpec) -> None:
    """Refuse genes that were chosen by what these people have, unless they are public: a Study tells everybody."""
    if table.selected and not spec.public:
        rule = "expected variants chosen by public facts, as a Study tells them to everybody"
        more = "take them by a panel with frequencies (ingest --panel), or set public = true if these data are"
        raise SpecError(f"{table.source}: {rule}, got a choice by these people's {table.selected}: {more}")


def _row_counters(x: Matrix) -> list[int]:
    """Return the columns that read 0, 1, 2, … or 1, 2, 3, … all the way down, as a row number does."""
    if x.shape[0] < _INDEX_ROWS:
        return []
    head = dense(x[:_INDEX_ROWS])
    starts = np.isin(head[0], (0, 1)) & (head == head[0] + np.arange(_INDEX_ROWS)[:, None]).all(axis=0)
    every = np.arange(x.shape[0])
    return [int(i) for i in np.flatnonzero(starts) if np.array_equal(dense(x[:, [i]]).ravel(), head[0, i] + every)]


def _select(table: Table, spec: CohortSpec) -> tuple[list[int], tuple[str, ...], str]:
    """Return the columns of the panel's genes, by name only, the genes that are not there, and the panel in words."""
    wanted, said = table.genes, "every gene of the file" if spec.tokens is None else "every position of a window"
    if spec.panel is not None:
        wanted = panel(spec.panel) if isinstance(spec.panel, str) else spec.panel
        said = told(spec.panel, len(wanted))
    if spec.genes is not None:
        said = spec.genes.text(said)
        wanted = spec.genes.of(wanted)
    where = {gene: i for i, gene in enumerate(table.genes)}
    columns = [where[gene] for gene in wanted if gene in where]
    if not columns:
        turned = set(wanted) & set(table.rows)
        hint = "; the file's rows are genes: transpose it" if turned else f", such as {_some(table.genes, 3)}"
        rule = f"expected genes of the panel ({_some(wanted, 3)}), got none of them"
        raise SpecError(f"{table.source}: {rule} among {len(table.genes)} genes{hint}")
    return columns, tuple(gene for gene in wanted if gene not in where), said


def _labels(table: Table, spec: CohortSpec) -> tuple[Array, Array]:
    """Return the label codes of the rows kept and the indices of those rows."""
    names = obs(table.source, table.columns, spec.label)
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
    every = obs(table.source, table.columns, column)
    names = tuple(every[i] for i in kept)
    if blank := names.count(""):
        first = table.rows[kept[names.index("")]]
        rule = f"expected a {what} for every row, {blank} of {len(names)} have none, the first is row {first!r}"
        raise SpecError(f"{table.source}: obs[{column!r}]: {rule}")
    return names


def obs(source: str, columns: Columns, column: str) -> list[str]:
    """Return an obs column as text, '' where a value is missing.

    Raises:
        SpecError: there is no such column.
    """
    if column not in columns:
        near = did_you_mean(column, columns, f"the file has {_some(columns) or 'none'}")
        raise SpecError(f"{source}: expected an obs column {column!r}, got none of that name ({near})")
    return [text(value) for value in columns[column]]


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


def _some(names: Iterable[str], most: int = 8) -> str:
    every = list(names)
    return ", ".join(map(repr, every[:most])) + (f" and {len(every) - most} more" if len(every) > most else "")
