"""Named public datasets that are already on the machine."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from fedgenome.cohort.shard import Array, Cohort
from fedgenome.cohort.table import Table, dense
from fedgenome.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A named public dataset.

    Attributes:
        open: Reads one layer of it.
        row: What a row is.
        public: Declared public: a seeded run may use it.
        provenance: Whose data they are and who published them, in one line.
    """

    open: Callable[[str], Table]
    row: str
    public: bool
    provenance: str


def pbmc68k() -> Cohort:
    """Return 700 blood cells of one person: log-normalised expression of all 765 genes, ten classes.

    The values are those of ``raw.X``: the file's ``.X`` is z-scored over all cells. There is no donor
    column, as there is one donor: the unit is a cell.

    Raises:
        SpecError: scanpy, whose package holds the file, is not installed.

    Source: Zheng et al. 2017, Fresh 68k PBMCs (Donor A), reduced by the scanpy authors.
    """
    table = _open_pbmc68k("raw")
    names = list(table.columns["bulk_labels"])
    with h5py.File(_pbmc68k_path()) as file:
        labels = tuple(name.decode() for name in file["uns/bulk_labels_categories"][:])
    dataset = DATASETS["pbmc68k"]
    return Cohort(
        name="pbmc68k",
        x=dense(table.x),
        genes=table.genes,
        label=np.array([labels.index(str(name)) for name in names]),
        labels=labels,
        rows=table.rows,
        row=dataset.row,
        public=dataset.public,
        provenance=dataset.provenance,
    )


def _pbmc68k_path() -> Path:
    found = importlib.util.find_spec("scanpy")  # finds the package without running it: importing it takes seconds
    folders = found.submodule_search_locations if found else None
    if not folders:
        raise SpecError("pbmc68k: expected scanpy to be installed, as its package holds the file")
    return Path(folders[0]) / "datasets" / "10x_pbmc68k_reduced.h5ad"


def _open_pbmc68k(layer: str) -> Table:
    """Read the old h5sparse layout with h5py: anndata's reader warns some thirty times on it."""
    if layer != "raw":
        raise SpecError(f"pbmc68k: expected layer 'raw' (its X is z-scored over all cells), got {layer!r}")
    with h5py.File(_pbmc68k_path()) as file:
        matrix, obs = file["raw.X"], file["obs"][:]
        parts = (matrix["data"][:], matrix["indices"][:], matrix["indptr"][:])
        x = sparse.csr_array(parts, shape=tuple(matrix.attrs["h5sparse_shape"]))
        genes = tuple(name.decode() for name in file["raw.var"]["index"])
        columns = {name: _column(file, name, obs[name]) for name in obs.dtype.names if name != "index"}
    rows = tuple(name.decode() for name in obs["index"])
    return Table(source="pbmc68k", x=x, genes=genes, rows=rows, columns=columns)


def _column(file: Any, name: str, values: Array) -> list[object]:
    """Return an obs column; one with categories in ``uns`` holds codes into them, −1 where missing."""
    key = f"uns/{name}_categories"
    if key not in file:
        return list(values.tolist())
    categories = [category.decode() for category in file[key][:]]
    return [categories[code] if code >= 0 else None for code in values]


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "pbmc68k": Dataset(
            open=_open_pbmc68k,
            row="cell",
            public=True,
            provenance="700 of the Fresh 68k PBMCs (Donor A) of 10x Genomics, Zheng et al. 2017, as packaged by scanpy",
        )
    }
)
