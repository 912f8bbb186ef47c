"""Where cohorts come from: h5ad files, and named public datasets that are already on the machine."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py
import numpy as np
from scipy import sparse

from fedgenome.cohort.shard import Array, Cohort
from fedgenome.errors import SpecError

Matrix = Array | sparse.csr_array[Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A matrix with named rows and genes as a file holds it: nothing checked, nothing dropped.

    Attributes:
        source: The file, as the user named it.
        x: (rows, genes) numbers, dense or CSR.
        genes: Gene names, possibly repeated.
        rows: Row names, possibly repeated.
        columns: The obs columns.
    """

    source: str
    x: Matrix
    genes: tuple[str, ...]
    rows: tuple[str, ...]
    columns: Mapping[str, Iterable[object]]


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


def open_h5ad(path: str, layer: str) -> Table:
    """Open one layer of an h5ad file.

    Args:
        path: The file.
        layer: ``X``, ``raw`` (``raw.X`` with its own genes) or the name of a layer.

    Raises:
        SpecError: there is no such file or layer, or it is not an h5ad.
    """
    _check_h5ad(path)
    import anndata  # slow to import, and only this function needs it
    from anndata._io.specs.registry import IORegistryError  # no public name in 0.12

    with warnings.catch_warnings():
        # Repeated names are refused by the caller, with the name.
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        warnings.filterwarnings("ignore", category=anndata.OldFormatWarning)  # it reads them as well
        try:
            data = anndata.read_h5ad(path)
        except (OSError, KeyError, ValueError, TypeError, AttributeError, IORegistryError) as fault:
            reason = str(fault).splitlines()[0] if str(fault) else ""
            raise SpecError(f"{path}: expected a readable h5ad, got {type(fault).__name__}: {reason}") from None
    x, genes = _layer(path, data, layer)
    return Table(
        source=path,
        x=x,
        genes=tuple(map(str, genes)),
        rows=tuple(map(str, data.obs_names)),
        columns={str(name): data.obs[name].tolist() for name in data.obs.columns},
    )


def _check_h5ad(path: str) -> None:
    file = Path(path)
    if not file.exists():
        raise SpecError(f"{path}: expected an .h5ad file or a dataset ({', '.join(DATASETS)}), nothing is there")
    if file.is_dir():
        raise SpecError(f"{path}: expected an .h5ad file, got a folder")
    if not h5py.is_hdf5(path):
        raise SpecError(f"{path}: expected an .h5ad file, got one that is not HDF5 (or cannot be read)")
    try:
        with h5py.File(path) as opened:
            absent = [part for part in ("obs", "var") if part not in opened]
    except OSError:
        raise SpecError(f"{path}: expected an .h5ad file, got a damaged HDF5 file (cut short?)") from None
    if absent:
        raise SpecError(f"{path}: expected an .h5ad file, got an HDF5 file without {' and '.join(absent)}")


def dense(x: Matrix) -> Array:
    """Return a matrix as an array, as it is if it is one."""
    return x if isinstance(x, np.ndarray) else x.toarray()


def _layer(path: str, data: Any, layer: str) -> tuple[Matrix, Iterable[str]]:
    """Return a layer's matrix and its genes."""
    if layer == "X" and data.X is not None:
        return _matrix(data.X), data.var_names
    if layer == "raw" and data.raw is not None:
        return _matrix(data.raw.X), data.raw.var_names
    if layer in data.layers:
        return _matrix(data.layers[layer]), data.var_names
    there = ["X"] * (data.X is not None) + ["raw"] * (data.raw is not None) + sorted(data.layers)
    raise SpecError(f"{path}: expected layer to be one of {', '.join(there) or '(none)'}, got {layer!r}")


def _matrix(x: Any) -> Matrix:
    return sparse.csr_array(x) if sparse.issparse(x) else np.asarray(x)  # type: ignore[call-overload]


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
