"""Blocks of genotypes → an AnnData file, written as they come: what is held is some columns and each column's place.

``X`` holds dosages, int8 (people, variants), −1 where not called; the layers ``hap0`` and ``hap1`` the alleles of
either haplotype on request. ``var`` is named CONTIG:POSITION:REF:ALT and has ``contig``, ``position`` (from 1),
``id``, ``ref``, ``alt``, ``sift``, ``polyphen``, ``impact`` and ``gene``; ``obs`` is named by sample and has ``donor``,
``label`` and the columns that were kept. ``uns["genotypes"]`` says what ``X`` holds, and what of these people the
choice of variants tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from fedgenome.cohort.genotypes import Block, Variant
from fedgenome.cohort.h5ad import mark, whole
from fedgenome.cohort.samples import Samples
from fedgenome.cohort.shard import Array
from fedgenome.errors import SpecError

_HELD = 1 << 24  # values that wait for their chunks to be full
_MOST_COLUMNS, _LEAST_COLUMNS, _ROWS = 2048, 64, 512  # of a chunk
_TEXTS = ("contig", "ref", "alt", "impact", "gene")  # few of them are different


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """A row of ``obs``.

    Attributes:
        sample: The file's name of the person.
        donor: Who it is.
        label: The class.
        kept: The values of further columns.
    """

    sample: str
    donor: str
    label: str
    kept: tuple[str, ...]


def people(source: str, samples: Sequence[str], who: Samples) -> list[Person]:
    """Return the people of a file.

    Raises:
        SpecError: the table has no line for one of them, or one without a donor.
    """
    found = []
    for number, sample in enumerate(samples, start=1):
        donor, label, kept = who.of(sample, f"{source}: sample {sample!r} (number {number})")
        found.append(Person(sample=sample, donor=donor, label=label, kept=kept))
    return found


def write_genotypes(
    path: Path,
    blocks: Iterable[Block],
    who: Sequence[Person],
    *,
    kept: Sequence[str] = (),
    selected: str = "",
    provenance: Mapping[str, str | int | float] | None = None,
) -> int:
    """Write columns in AnnData's format, whole or not at all; what was there is replaced.

    Args:
        path: The file.
        blocks: The columns, in order.
        who: The rows.
        kept: Names of the columns in ``Person.kept``.
        selected: What of these people the choice of columns tells; see ``GenotypeSpec.selected``.
        provenance: What was read, for ``uns``.

    Returns:
        The number of columns.

    Raises:
        SpecError: a variant comes twice, there is none, a kept column has a name of ours, or the folder cannot be
            written to.
    """
    if taken := [name for name in kept if name in ("donor", "label")]:
        raise SpecError(f"{path}: expected columns to keep of other names than donor, label, got {taken[0]!r}")
    with whole(path) as beside, h5py.File(beside, "w") as file:
        columns = _Columns(file, len(who), str(path))
        for block in blocks:
            columns.add(block)
        written = columns.finish()
        if not written:
            raise SpecError(f"{path}: expected variants that pass every filter, got none")
        _finish(file, who, kept, {"coding": "dosage", "selected": selected}, provenance or {})
    return written


def _finish(
    file: h5py.File,
    who: Sequence[Person],
    kept: Sequence[str],
    genotypes: Mapping[str, str],
    provenance: Mapping[str, Any],
) -> None:
    import pandas as pd  # both are slow to import, and only this function needs them
    from anndata.io import write_elem

    obs = {"donor": [one.donor for one in who], "label": [one.label for one in who]}
    obs |= {name: [one.kept[i] for one in who] for i, name in enumerate(kept)}
    write_elem(file, "obs", pd.DataFrame(obs, index=[one.sample for one in who]))
    write_elem(file, "uns", {"genotypes": dict(genotypes), "provenance": dict(provenance)})
    mark(file, "anndata", "0.1.0")


class _Columns:
    """An open file that columns are added to."""

    def __init__(self, file: h5py.File, rows: int, source: str) -> None:
        self._file, self._rows, self._source = file, rows, source
        self._width = int(np.clip(1 << (max(1, _HELD // rows).bit_length() - 1), _LEAST_COLUMNS, _MOST_COLUMNS))
        self._matrices = [self._matrix("X")]
        self._waiting: list[list[Array]] = [[]]
        self._filled = 0
        self._variants: list[Variant] = []
        self._var = file.create_group("var")
        self._names, self._ids = (self._strings(name) for name in ("_index", "id"))
        self._texts = {name: _Text() for name in _TEXTS}
        self._numbers: dict[str, list[Array]] = defaultdict(list)
        self._seen: set[str] = set()

    def add(self, block: Block) -> None:
        """Add the columns of a block.

        Raises:
            SpecError: one of them was there already.
        """
        while len(self._matrices) <= len(block.haplotypes):
            mark(self._file.require_group("layers"), "dict", "0.1.0")
            self._matrices.append(self._matrix(f"layers/hap{len(self._matrices) - 1}"))
            self._waiting.append([])
        for waiting, part in zip(self._waiting, (block.dosage, *block.haplotypes), strict=True):
            waiting.append(part)
        self._variants += block.variants
        while len(self._variants) >= self._width:
            self._flush(self._width)

    def finish(self) -> int:
        """Write what waits and the facts of the columns; return their number."""
        import pandas as pd  # both are slow to import, and only this function needs them
        from anndata.io import write_elem

        self._flush(len(self._variants))
        if not self._filled:
            return 0
        for name, column in self._texts.items():
            write_elem(self._var, name, pd.Categorical.from_codes(column.codes, pd.Index(column.values, dtype=object)))
        for name, parts in self._numbers.items():
            write_elem(self._var, name, np.concatenate(parts))
        order = ["contig", "position", "id", "ref", "alt", "sift", "polyphen", "impact", "gene"]
        self._var.attrs.update({"_index": "_index", "column-order": order})
        mark(self._var, "dataframe", "0.2.0")
        return self._filled

    def _matrix(self, name: str) -> Any:
        made = self._file.create_dataset(
            name,
            (self._rows, 0),
            np.int8,
            maxshape=(self._rows, None),
            chunks=(min(self._rows, _ROWS), self._width),
            compression="gzip",
            compression_opts=1,
        )
        mark(made, "array", "0.2.0")
        return made

    def _strings(self, name: str) -> Any:
        made = self._var.create_dataset(name, (0,), h5py.string_dtype(), maxshape=(None,), chunks=(1 << 12,))
        mark(made, "string-array", "0.2.0")
        return made

    def _flush(self, columns: int) -> None:
        """Write the first columns that wait, a row of chunks at a time."""
        if not columns:
            return
        before, self._filled = self._filled, self._filled + columns
        for matrix, waiting in zip(self._matrices, self._waiting, strict=True):
            every = waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            matrix.resize(self._filled, axis=1)
            matrix[:, before:] = np.ascontiguousarray(every[:columns].T)
            waiting[:] = [every[columns:]]
        self._describe(self._variants[:columns], before)
        self._variants = self._variants[columns:]

    def _describe(self, variants: Sequence[Variant], before: int) -> None:
        names = [one.name for one in variants]
        for name in names:
            if name in self._seen:
                raise SpecError(f"{self._source}: expected every variant once, got {name} again")
            self._seen.add(name)
        for strings, texts in ((self._names, names), (self._ids, [one.id for one in variants])):
            strings.resize(self._filled, axis=0)
            strings[before:] = texts
        for name in ("contig", "ref", "alt"):
            self._texts[name].add([getattr(one, name) for one in variants])
        for name in ("impact", "gene"):
            self._texts[name].add([getattr(one.effect, name) for one in variants])
        self._numbers["position"].append(np.array([one.position for one in variants], np.int64))
        for name in ("sift", "polyphen"):
            self._numbers[name].append(np.array([getattr(one.effect, name) for one in variants], np.float32))


class _Text:
    """A column of few different texts."""

    def __init__(self) -> None:
        self._code: dict[str, int] = {}
        self._parts: list[Array] = []

    def add(self, texts: Sequence[str]) -> None:
        """Add some more."""
        self._parts.append(np.array([self._code.setdefault(text, len(self._code)) for text in texts], np.int32))

    @property
    def values(self) -> list[str]:
        """Every different text, in the order in which they came."""
        return list(self._code)

    @property
    def codes(self) -> Array:
        """Of each row its index into ``values``."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int32)
