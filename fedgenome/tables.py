"""Tables from files that are to be compared: the same genes by name, labels and scale, or one clear error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedgenome.audit.targets import Records
from fedgenome.cohort import expression
from fedgenome.cohort.h5ad import open_h5ad
from fedgenome.cohort.table import Table, dense
from fedgenome.cohort.text import is_text, open_text
from fedgenome.errors import SpecError, did_you_mean
from fedgenome.query import Array
from fedgenome.study import Schema, Vocabulary

SYNTHETIC_LABEL = "label"  # the obs column of a release's synthetic.h5ad
_WIDE = 1e30  # a range that clips nothing
_ABSENT = "not given"  # the stratum of who has no value
_HEAD = 200  # rows that tell counts from other scales


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How to read files.

    Attributes:
        label: obs column of the classes in real files; in made ones too, or else ``label``.
        donor: obs column of donors in real files; None: every row by itself.
        layer: ``X``, ``raw`` or a layer, of real h5ad files.
        common: Compare the genes that all files have, where they differ.
        counts: Scale files of whole counts to 1e4 a row, then log1p.
        drop_unlabelled: Leave out real rows without a label.
        strata: More obs columns of real files, by which people are told apart.
    """

    label: str = SYNTHETIC_LABEL
    donor: str | None = None
    layer: str = "X"
    common: bool = False
    counts: bool = False
    drop_unlabelled: bool = False
    strata: tuple[str, ...] = ()

    def open(self, path: Path, *, real: bool) -> Table:
        """Open an h5ad, or a table of text.

        Raises:
            SpecError: it is neither, or cannot be read.
        """
        if is_text(str(path)):
            named = [name for name in (self.label, self.donor, *self.strata, SYNTHETIC_LABEL) if name]
            return open_text(str(path), named)
        return open_h5ad(str(path), self.layer if real else "X")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """Tables that fit each other.

    Attributes:
        records: Role → rows.
        owners: Role → donors' ids, or the rows' names where there are no donors.
        genes: Columns of all.
        labels: Names of the label codes.
        tokens: What codes stand for, where rows are of sequences.
        dosages: Whether rows are of dosages.
    """

    records: Mapping[str, Records]
    owners: Mapping[str, frozenset[str]]
    genes: tuple[str, ...]
    labels: tuple[str, ...]
    tokens: Vocabulary | None = None
    dosages: bool = False


def fit(
    made: Mapping[str, Table],
    real: Mapping[str, Table],
    how: Reading,
    *,
    first: str,
    wider: bool = False,
    schema: Schema | None = None,
) -> Fitted:
    """Return tables as records of the same genes, in the same order, with the same label codes.

    Args:
        made: Synthetic tables by role.
        real: Tables of people by role.
        how: How to read them.
        first: The role whose genes, and their order, the others must have; a schema's come before it.
        wider: The others may have more genes, which are left out.
        schema: The study of the made tables: real rows are read by its labels, range, fill and ranks.

    Raises:
        SpecError: a column, gene, label or scale does not fit; one line says which, and what would.
    """
    tables = {**made, **real}
    like = (schema.genes, "the release") if schema else (tables[first].genes, tables[first].source)
    genes = _genes(tables, *like, how.common, wider)
    columns = {role: _column(table, how.label, made=role in made) for role, table in tables.items()}
    labels = _labels(made, real, columns) if schema is None else schema.labels
    tokens = _tokens(tables, schema)
    # A table that somebody else made need not say so: a value that is no dosage is then refused.
    dosages = any(table.dosages for table in tables.values()) or bool(schema and schema.dosages)
    coded = tokens is not None or dosages
    counts = dict.fromkeys(tables, False) if coded else _scales(tables, how.counts)
    cohorts = {}
    for role, table in tables.items():
        people = role in real
        spec = expression.CohortSpec(
            source=table.source,
            label=columns[role],
            labels=labels,
            donor=how.donor if people else None,
            panel=genes,
            drop_unlabelled=how.drop_unlabelled,
            fill=schema.fill if schema else None,
            batch=schema.batch if schema and people else "none",
            public=True,  # how the variants of a file were chosen matters to a Study, which these readers make none of
            **_values(schema, tokens, counts=counts[role], dosages=dosages),
        )
        cohorts[role] = expression.of_table(table, spec)
    return Fitted(
        records={
            role: _records(cohort, _strata(real[role], how) if role in real else {}) for role, cohort in cohorts.items()
        },
        owners={role: frozenset(cohort.owners) for role, cohort in cohorts.items()},
        genes=genes,
        labels=labels,
        tokens=tokens,
        dosages=dosages,
    )


def _values(schema: Schema | None, tokens: Vocabulary | None, *, counts: bool, dosages: bool) -> dict[str, Any]:
    """Return what the numbers of a table are, as a cohort's scale, with the range that nothing is clipped to."""
    if tokens is not None:
        return {"scale": "codes", "tokens": tokens, "low": 0.0, "high": float(tokens.size)}
    low, high = (schema.low, schema.high) if schema else (0.0, 2.0) if dosages else (-_WIDE, _WIDE)
    return {"scale": "dosage" if dosages else "counts" if counts else "log", "low": low, "high": high}


def _records(cohort: expression.Cohort, strata: Mapping[str, Array]) -> Records:
    _, donor = np.unique(np.asarray(cohort.owners), return_inverse=True)
    return Records(x=np.asarray(cohort.x, np.float64), label=cohort.label, donor=donor, strata=strata)


def _strata(table: Table, how: Reading) -> dict[str, Array]:
    """Return class and ``how.strata`` of each labelled row, as text."""
    columns = {name: expression.obs(table.source, table.columns, name) for name in (how.label, *how.strata)}
    labelled = np.flatnonzero([bool(value) for value in columns[how.label]])
    return {name: np.array([values[i] or _ABSENT for i in labelled]) for name, values in columns.items()}


def _genes(
    tables: Mapping[str, Table], genes: Sequence[str], source: str, common: bool, wider: bool
) -> tuple[str, ...]:
    """Return the genes to compare, in the order of the first's."""
    shared = set(genes).intersection(*(table.genes for table in tables.values()))
    for table in tables.values():
        lacks = set(genes) - set(table.genes)
        only = set() if wider else set(table.genes) - set(genes)
        if (only or lacks) and not common:
            told = "; ".join(
                f"{len(names)} only in {where} ({_some(sorted(names))})"
                for names, where in ((lacks, source), (only, table.source))
                if names
            )
            way = f"--common compares the {len(shared)} that all files share" if shared else "they share none"
            rule = f"those of {source} in {table.source}" if wider else "the same in every file"
            raise SpecError(f"genes: expected {rule}, by name: {told}; {way}")
    if not shared:
        raise SpecError("--common: expected genes that all files share, by name, got none")
    return tuple(gene for gene in genes if gene in shared)


def _column(table: Table, label: str, *, made: bool) -> str:
    wanted = [label, SYNTHETIC_LABEL] if made else [label]
    for column in wanted:
        if column in table.columns:
            return column
    near = did_you_mean(label, table.columns, f"the file has {_some(table.columns) or 'none'}")
    raise SpecError(f"{table.source}: expected an obs column {' or '.join(map(repr, wanted))} of classes ({near})")


def _labels(made: Mapping[str, Table], real: Mapping[str, Table], columns: Mapping[str, str]) -> tuple[str, ...]:
    """Return the classes of the real tables, sorted; a made one may lack some, and have no other."""
    known = sorted(set().union(*(_named(table.columns[columns[role]]) for role, table in real.items())))
    if not known:
        role, table = next(iter(real.items()))
        raise SpecError(f"{table.source}: obs[{columns[role]!r}]: expected labelled rows, got none")
    for role, table in made.items():
        if strange := sorted(_named(table.columns[columns[role]]) - set(known)):
            near = did_you_mean(strange[0], known, f"the real rows have {_some(known)}")
            where = f"{table.source}: obs[{columns[role]!r}]"
            raise SpecError(f"{where}: expected only labels of the real rows, got {strange[0]!r} ({near})")
    return tuple(known)


def _named(values: Iterable[object]) -> set[str]:
    """Return the different labels as text, as a cohort reads them."""
    return {expression.text(value) for value in values} - {""}


def _tokens(tables: Mapping[str, Table], schema: Schema | None) -> Vocabulary | None:
    """Return what codes stand for in all tables, None for expression; a file that does not say has what others say.

    Raises:
        SpecError: two files hold codes of different tokens.
    """
    told: dict[str, Vocabulary | None] = {t.source: t.tokens for t in tables.values() if t.tokens is not None}
    if schema is not None and (schema.tokens is not None or told):
        told = {"the release": schema.tokens} | told
    for source, tokens in told.items():
        if tokens != next(iter(told.values())):
            first = next(iter(told))
            raise SpecError(f"{source}: expected tokens of {told[first]}, as in {first}, got {tokens}")
    return next(iter(told.values()), None)


def _scales(tables: Mapping[str, Table], counts: bool) -> dict[str, bool]:
    """Return for each role if its values are counts to be scaled."""
    whole = {role: _is_counts(table) for role, table in tables.items()}
    if counts:
        return whole
    if len(set(whole.values())) > 1:
        ours, theirs = (next(tables[role].source for role, is_it in whole.items() if is_it == w) for w in (True, False))
        rule = "--counts scales counts to 1e4 a row, then log1p"
        raise SpecError(
            f"scale: expected the same in every file, {ours} holds whole counts and {theirs} does not; {rule}"
        )
    return dict.fromkeys(whole, False)


def _is_counts(table: Table) -> bool:
    head = dense(table.x[:_HEAD])
    return bool(head.size) and bool(np.all((head >= 0) & (head == np.floor(head))) and head.max() > 1)


def _some(names: Iterable[str], most: int = 5) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
