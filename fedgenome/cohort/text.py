"""Tables as text: a line of names, then a line a row; columns of numbers are genes, the others obs columns.

This is what other tools write (pandas, R): commas in a ``.csv``, tabs in a ``.tsv``, either may be ``.gz``. A first
column without a name holds the names of the rows.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedgenome.cohort.shard import repeated
from fedgenome.cohort.table import Table
from fedgenome.errors import SpecError

if TYPE_CHECKING:
    from pandas import DataFrame

SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def is_text(source: str) -> bool:
    """Return whether a source is a table of text, by its name.

    >>> is_text("made.csv"), is_text("made.tsv.gz"), is_text("made.h5ad")
    (True, True, False)
    """
    return source.endswith(SUFFIXES)


def open_text(path: str, obs: Collection[str]) -> Table:
    """Open a table of text.

    Args:
        path: The file.
        obs: Columns that are no genes even if they hold numbers, such as labels.

    Returns:
        A table of float64 (rows, genes), NaN where a value is empty or ``NA``.

    Raises:
        SpecError: there is no such file, it is no table, a name comes twice, or nothing in it is a number.
    """
    import pandas as pd  # slow to import, and only this function needs it

    separator = "," if path.removesuffix(".gz").endswith(".csv") else "\t"
    try:
        head = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str)
        data = pd.read_csv(path, sep=separator, dtype=dict.fromkeys(obs, object), low_memory=False)
    except OSError as fault:
        raise SpecError(f"{path}: expected a table of text, got {fault.strerror or fault}") from None
    except (ValueError, EOFError) as fault:  # pandas' own parser errors are of these kinds
        raise SpecError(f"{path}: expected a table of text, got {str(fault).splitlines()[0]}") from None
    if twice := repeated(tuple(head.iloc[0].dropna())):
        raise SpecError(f"{path}: expected every name of the first line once, got {twice[0]!r} again")
    if data.columns.size and str(data.columns[0]).startswith("Unnamed: 0"):
        data = data.set_index(data.columns[0])
    return _table(Path(path), data, obs)


def _table(path: Path, frame: DataFrame, obs: Collection[str]) -> Table:
    genes = [name for name in frame.columns if name not in obs and frame[name].dtype.kind in "fiu"]
    if not genes or not len(frame):
        raise SpecError(f"{path}: expected a line of names and rows of numbers under them, got none")
    return Table(
        source=str(path),
        x=np.asarray(frame[genes], np.float64),
        genes=tuple(map(str, genes)),
        rows=tuple(map(str, frame.index)),
        columns={str(name): frame[name].tolist() for name in frame.columns if name not in genes},
    )
