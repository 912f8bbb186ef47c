"""What a file holds before anything is checked: a :class:`Table`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from scipy import sparse

from fedgenome.cohort.shard import Array
from fedgenome.study import Vocabulary

Matrix = Array | sparse.csr_array[Any]
Columns = Mapping[str, Iterable[object]]
Pick = Callable[[Columns], Array | None]  # obs columns → indices of the rows to load, rising; None: all


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A matrix with named rows and genes as a file holds it: nothing checked, nothing dropped.

    Attributes:
        source: The file, as the user named it.
        x: (rows, genes) numbers, dense or CSR.
        genes: Gene names, possibly repeated.
        rows: Row names, possibly repeated.
        columns: The obs columns.
        tokens: What the numbers stand for, where the file says that they are codes of tokens.
        dosages: Whether the file says that they are copies of an allele, −1 where not called.
        selected: What of these people the choice of genes tells, in words of the file; "" where nothing.
    """

    source: str
    x: Matrix
    genes: tuple[str, ...]
    rows: tuple[str, ...]
    columns: Columns
    tokens: Vocabulary | None = None
    dosages: bool = False
    selected: str = ""

    def take(self, chosen: Array) -> Table:
        """Return the chosen rows only, by index."""
        columns = {name: list(values) for name, values in self.columns.items()}
        return replace(
            self,
            x=self.x[chosen],
            rows=tuple(self.rows[i] for i in chosen),
            columns={name: [values[i] for i in chosen] for name, values in columns.items()},
        )


def everything(_: Columns) -> None:
    """Pick every row."""
    return


def dense(x: Matrix) -> Array:
    """Return a matrix as an array, as it is if it is one."""
    return x if not sparse.issparse(x) else x.toarray()
