"""Tables of expression as the CAMDA Health Privacy Challenge hands them out, and their like.

Two files of text. *Expression* (``.tsv``, ``.tsv.gz``; tabs): a line of names, then a line for each gene with its name
first and a number for each sample, as CAMDA writes it (genes × samples); or a line for each sample and a number for
each gene (samples × genes). R leaves out the name of the first column; that is read too. *Annotation* (``.csv`` with
commas, else tabs; either may be ``.gz``): a line of column names, then a line for each sample; the column ``samplesID``
names the samples, or the first column. All other columns become obs columns.

Which way round an expression table is, names say: its samples are where the annotation's samples are. Neither shapes
nor numbers are looked at. Samples of the annotation alone are left out, those without a line in it have empty columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedgenome.cohort.lines import read_lines, read_numbers
from fedgenome.cohort.shard import Array, repeated
from fedgenome.cohort.table import Table
from fedgenome.errors import SpecError, did_you_mean

SAMPLE = "samplesID"  # the annotation's column of sample names


def is_camda(source: str) -> bool:
    """Return whether a source is a table of expression, by its name.

    >>> is_camda("brca.tsv"), is_camda("brca.tsv.gz"), is_camda("brca.h5ad")
    (True, True, False)
    """
    return source.endswith((".tsv", ".tsv.gz"))


def open_camda(path: str, annotation: str | None) -> Table:
    """Open an expression table with its annotation.

    Args:
        path: The expression table.
        annotation: The annotation; it is needed.

    Returns:
        A table of float32 (samples, genes), NaN where a value is empty or ``NA``.

    Raises:
        SpecError: a file is absent or no such table; names file, line and column.
    """
    if annotation is None:
        raise SpecError(f"{path}: expected annotation, the table that says its samples' labels; got none")
    _, samples, columns = read_annotation(annotation)
    across, down, x = _expression(path)
    rows, genes = (across, down) if _genes_down(path, annotation, across, down, set(samples)) else (down, across)
    place = {name: i for i, name in enumerate(samples)}
    at = [place.get(name) for name in rows]
    return Table(
        source=path,
        x=x.T.copy() if rows is across else x,
        genes=tuple(genes),
        rows=tuple(rows),
        columns={name: ["" if i is None else values[i] for i in at] for name, values in columns.items()},
    )


def _genes_down(path: str, annotation: str, across: Sequence[str], down: Sequence[str], samples: set[str]) -> bool:
    in_header, in_column = not samples.isdisjoint(across), not samples.isdisjoint(down)
    if in_header == in_column:
        seen = "in both" if in_header else f"in neither: {min(samples)!r} is like neither {across[0]!r} nor {down[0]!r}"
        rule = f"expected samples of {annotation} either in the first line or in the first column"
        raise SpecError(f"{path}: {rule}, got them {seen}")
    return in_header


def _expression(path: str) -> tuple[list[str], list[str], Array]:
    """Return the names in the first line, those in the first column, and the numbers between."""
    lines = read_lines(path, "\t")
    header = next(lines, [])
    names, numbers = [], []
    for number, cells in enumerate(lines, start=2):
        if number == 2 and len(cells) == len(header):
            header = header[1:]  # the corner has a name, or an empty one
        if len(cells) != len(header) + 1:
            rule = f"expected a name and {len(header)} numbers, as the first line has it"
            raise SpecError(f"{path}: line {number}: {rule}; got {len(cells)} cells")
        names.append(cells[0])
        numbers.append(read_numbers(path, number, cells[1:], header))
    if not names or not header:
        raise SpecError(f"{path}: expected a line of names and lines of numbers between tabs, got none")
    for what, every in (("first line", header), ("first column", names)):
        if twice := repeated(tuple(every)):
            raise SpecError(f"{path}: expected every name of the {what} once, got {twice[0]!r} again")
    return header, names, np.stack(numbers)


def read_annotation(path: str, by: str | None = None) -> tuple[str, list[str], dict[str, list[str]]]:
    """Return the name of the column of samples, the samples, and the other columns.

    Args:
        path: A table of text with a line for each sample.
        by: The column that names the samples; None: ``samplesID``, or the first.

    Raises:
        SpecError: there is no such table or column, or a sample has two lines.
    """
    lines = read_lines(path, "," if path.removesuffix(".gz").endswith(".csv") else "\t")
    header, rows = next(lines, []), list(lines)
    if rows and len(rows[0]) == len(header) + 1:
        header = ["", *header]  # row names as R writes them
    for number, cells in enumerate(rows, start=2):
        if len(cells) != len(header):
            raise SpecError(f"{path}: line {number}: expected {len(header)} cells, got {len(cells)}")
    if not rows or len(header) < 2:
        raise SpecError(f"{path}: expected a line of column names and lines of samples with labels, got none")
    if twice := repeated(tuple(header)):
        raise SpecError(f"{path}: expected every column once, got {twice[0]!r} again")
    if by is not None and by not in header:
        near = did_you_mean(by, header, f"it has {', '.join(filter(None, header))}")
        raise SpecError(f"{path}: expected a column {by!r} of samples, got none of that name ({near})")
    by = SAMPLE if by is None and SAMPLE in header else by
    named = 0 if by is None else header.index(by)
    samples = [cells[named] for cells in rows]
    if twice := repeated(tuple(samples)):
        raise SpecError(f"{path}: column {header[named] or 1!r}: expected every sample once, got {twice[0]!r} again")
    others = [i for i in range(len(header)) if i != named and header[i]]
    return header[named], samples, {header[i]: [cells[i] for cells in rows] for i in others}
