"""Windows of sequences → an AnnData file, written as they come: what is held is a record's rows and each row's place.

``X`` holds token codes (uint8, or uint16 for large vocabularies), compressed; ``var_names`` are positions within a
window, ``p0001`` the first. ``obs`` has ``donor``, ``label``, ``start`` (0-based position of a row's first letter in
its record), ``strand`` ("+", "-") and the columns that were kept; a row is named by record, start and strand.
``uns["tokens"]`` has ``letters`` and ``k``, ``uns["provenance"]`` says what was read and how it was cut.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from fedgenome.cohort.expression import coin
from fedgenome.cohort.h5ad import mark, whole
from fedgenome.cohort.shard import Array
from fedgenome.cohort.tokens import positions
from fedgenome.cohort.windows import Cut, Record, WindowSpec, cut
from fedgenome.errors import SpecError

COLUMNS = ("donor", "label", "start", "strand")
_BLOCK = 1 << 20  # codes written at a time

Records = Callable[[], Iterator[Record]]  # may be called twice: the file is then read twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a file holds.

    Attributes:
        rows: Its rows.
        donors: Donors with a row.
        left_out: Windows left out for unknown tokens.
        without: Donors of whom no window was left.
    """

    rows: int
    donors: int
    left_out: int
    without: int


def write_sequences(
    path: Path,
    records: Records,
    spec: WindowSpec,
    *,
    kept: Sequence[str] = (),
    provenance: Mapping[str, str | int | float] | None = None,
    rows_per_donor: int | None = None,
) -> Written:
    """Write the windows of all records in AnnData's format, whole or not at all; what was there is replaced.

    Args:
        path: The file.
        records: Gives the records anew each time.
        spec: How they are cut.
        kept: Names of the columns that records carry in ``Record.kept``.
        provenance: What was read, for ``uns``.
        rows_per_donor: Most rows of one donor: those with the lowest coins, as ``cohort.expression.capped`` has them.

    Raises:
        SpecError: a record breaks a rule, a kept column has a name of ours, no window is left, or the folder cannot be
            written to.
    """
    if taken := [name for name in kept if name in COLUMNS]:
        raise SpecError(f"{path}: expected columns to keep of other names than {', '.join(COLUMNS)}, got {taken[0]!r}")
    lowest = _lowest(records(), spec, rows_per_donor) if rows_per_donor is not None else None
    with whole(path) as beside, h5py.File(beside, "w") as file:
        rows = _Rows(file, spec, kept)
        for record in records():
            part = cut(record, spec)
            names = row_names(record, part)
            rows.add(record, part, names, np.array([_in(lowest, record.donor, name) for name in names], np.bool_))
        if not rows.written:
            rule = f"expected a sequence of {spec.length} tokens or more with few unknown ones"
            raise SpecError(f"{path}: {rule}, got no window at all")
        return rows.finish(provenance or {})


def row_names(record: Record, part: Cut) -> list[str]:
    """Return the names of a record's rows."""
    strands = np.where(part.reverse, "-", "+")
    return [f"{record.name}:{start:09d}{way}" for start, way in zip(part.start.tolist(), strands.tolist(), strict=True)]


def _lowest(records: Iterator[Record], spec: WindowSpec, most: int) -> dict[str, bytes]:
    """Return the highest coin of each donor's ``most`` lowest."""
    coins: dict[str, list[bytes]] = defaultdict(list)
    for record in records:
        mine = [coin(record.donor, name) for name in row_names(record, cut(record, spec))]
        coins[record.donor] = heapq.nsmallest(most, coins[record.donor] + mine)
    return {donor: own[-1] for donor, own in coins.items() if own}


def _in(lowest: Mapping[str, bytes] | None, donor: str, name: str) -> bool:
    return lowest is None or coin(donor, name) <= lowest[donor]


class _Rows:
    """An open file that rows are added to."""

    def __init__(self, file: h5py.File, spec: WindowSpec, kept: Sequence[str]) -> None:
        self._file, self._spec = file, spec
        chunk = max(1, _BLOCK // spec.length)
        self._x = file.create_dataset(
            "X",
            (0, spec.length),
            spec.tokens.dtype,
            maxshape=(None, spec.length),
            chunks=(min(chunk, 1 << 14), spec.length),
            compression="gzip",
            compression_opts=1,
        )
        self._obs = file.create_group("obs")
        self._names = self._obs.create_dataset("_index", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(1 << 12,))
        mark(self._x, "array", "0.2.0")
        mark(self._names, "string-array", "0.2.0")
        self._columns = {name: _Column() for name in ("donor", "label", *kept)}
        self._start: list[Array] = []
        self._reverse: list[Array] = []
        self._codes: list[Array] = []  # not yet written, as are the names
        self._waiting: list[str] = []
        self._left_out = 0
        self._seen: set[str] = set()

    @property
    def written(self) -> int:
        """Rows so far."""
        return len(self._x) + len(self._waiting)

    def add(self, record: Record, part: Cut, names: list[str], chosen: Array) -> None:
        """Add the chosen rows of a record."""
        self._left_out += part.left_out
        self._seen.add(record.donor)
        for column, value in zip(self._columns.values(), (record.donor, record.label, *record.kept), strict=True):
            column.add(value, int(chosen.sum()))
        self._start.append(part.start[chosen])
        self._reverse.append(part.reverse[chosen])
        self._codes.append(part.codes[chosen])
        self._waiting += [name for name, kept in zip(names, chosen, strict=True) if kept]
        if len(self._waiting) * self._spec.length >= _BLOCK:
            self._flush()

    def finish(self, provenance: Mapping[str, str | int | float]) -> Written:
        """Write what waits and all that is beside the rows."""
        import pandas as pd  # both are slow to import, and only this function needs them
        from anndata.io import write_elem

        self._flush()
        for name, column in self._columns.items():
            write_elem(self._obs, name, pd.Categorical.from_codes(column.rows, pd.Index(column.values)))
        write_elem(self._obs, "start", np.concatenate(self._start))
        strand = np.concatenate(self._reverse).astype(np.int8)
        write_elem(self._obs, "strand", pd.Categorical.from_codes(strand, pd.Index(["+", "-"])))
        order = ("donor", "label", "start", "strand", *list(self._columns)[2:])
        self._obs.attrs.update({"_index": "_index", "column-order": list(order)})
        mark(self._obs, "dataframe", "0.2.0")
        write_elem(self._file, "var", pd.DataFrame(index=list(positions(self._spec.length))))
        vocabulary = {"letters": self._spec.tokens.letters, "k": self._spec.tokens.k}
        write_elem(self._file, "uns", {"tokens": vocabulary, "provenance": dict(provenance)})
        mark(self._file, "anndata", "0.1.0")
        donors = len(np.unique(self._columns["donor"].rows))
        return Written(rows=len(self._x), donors=donors, left_out=self._left_out, without=len(self._seen) - donors)

    def _flush(self) -> None:
        if self._waiting:
            before, after = len(self._x), self.written
            self._x.resize(after, axis=0)
            self._x[before:] = np.concatenate(self._codes)
            self._names.resize(after, axis=0)
            self._names[before:] = self._waiting
        self._codes, self._waiting = [], []


class _Column:
    """A column of few values, as a run of each."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self._code: dict[str, int] = {}
        self._runs: list[tuple[int, int]] = []

    def add(self, value: str, times: int) -> None:
        """Add a value so many times."""
        if value not in self._code:
            self._code[value] = len(self.values)
            self.values.append(value)
        self._runs.append((self._code[value], times))

    @property
    def rows(self) -> Array:
        """The code of every row."""
        codes, times = np.array(self._runs, np.int64).reshape(-1, 2).T
        return np.repeat(codes, times)
