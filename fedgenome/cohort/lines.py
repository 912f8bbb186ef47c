"""Tables of text, line by line: what the readers of expression and of annotations share."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fedgenome.cohort.shard import Array
from fedgenome.errors import SpecError

_MISSING = ("", "NA", "NaN", "nan")  # what R and pandas write for a value that is not there


def read_lines(path: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the cells of every line that is not empty.

    Raises:
        SpecError: it is no text in UTF-8, or cannot be read.
    """
    opened = gzip.open if path.endswith(".gz") else open
    try:
        with opened(Path(path), "rt", encoding="utf-8", newline="") as file:
            yield from (cells for cells in csv.reader(file, delimiter=delimiter) if cells)
    except OSError as fault:
        raise SpecError(f"{path}: expected a table of text, got {fault.strerror or fault}") from None
    except (UnicodeDecodeError, EOFError, csv.Error):
        raise SpecError(f"{path}: expected a table of text in UTF-8, got other bytes") from None


def read_numbers(path: str, line: int, cells: Sequence[str], header: Sequence[str]) -> Array:
    """Return a line's cells as float32, NaN where one is empty or ``NA``.

    Raises:
        SpecError: a cell holds anything else; names file, line and column.
    """
    try:
        return np.array(cells, np.float32)
    except ValueError:
        pass
    told = np.array([np.nan if cell in _MISSING else _number(cell) for cell in cells])
    if (odd := next((i for i, value in enumerate(told) if value is None), None)) is not None:
        raise SpecError(f"{path}: line {line}, column {header[odd]!r}: expected a number or NA, got {cells[odd]!r}")
    return told.astype(np.float32)


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
