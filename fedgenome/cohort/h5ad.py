"""AnnData files in and out: one layer of the chosen rows, read from the disk; a table, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import ValidationError
from scipy import sparse

from fedgenome.cohort.shard import Array
from fedgenome.cohort.table import Matrix, Pick, Table, everything
from fedgenome.errors import SpecError
from fedgenome.strict import finding
from fedgenome.study import Vocabulary


def open_h5ad(path: str, layer: str, pick: Pick = everything, *, datasets: str = "") -> Table:
    """Open one layer of an h5ad file; of ``X`` and ``raw`` only the rows picked are loaded, sparse ones as CSR.

    Args:
        path: The file.
        layer: ``X``, ``raw`` (``raw.X`` with its own genes) or the name of a layer.
        pick: Chooses rows by obs columns.
        datasets: Names of datasets that would do in place of a file, for the error.

    Raises:
        SpecError: there is no such file or layer, or it is not an h5ad.
    """
    _check(path, datasets)
    import anndata  # slow to import, and only this function needs it
    from anndata._io.specs.registry import IORegistryError  # no public name in 0.12

    with warnings.catch_warnings():
        # Repeated names are refused by the caller, with the name.
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        warnings.filterwarnings("ignore", category=anndata.OldFormatWarning)  # it reads them as well
        try:
            data = anndata.read_h5ad(path, backed="r")
        except (OSError, KeyError, ValueError, TypeError, AttributeError, IORegistryError) as fault:
            reason = str(fault).splitlines()[0] if str(fault) else ""
            raise SpecError(f"{path}: expected a readable h5ad, got {type(fault).__name__}: {reason}") from None
        try:
            return _table(path, data, layer, pick)
        finally:
            data.file.close()


def write_h5ad(table: Table, path: Path) -> None:
    """Write a table in AnnData's format, whole or not at all; what was there is replaced.

    Raises:
        SpecError: the folder cannot be written to.
    """
    import anndata  # slow to import, and only this function needs it

    obs = {"obs_names": list(table.rows)} | {name: list(values) for name, values in table.columns.items()}
    data = anndata.AnnData(X=table.x, obs=obs, var={"var_names": list(table.genes)})
    if table.tokens is not None:
        data.uns["tokens"] = {"letters": table.tokens.letters, "k": table.tokens.k}
    with whole(path) as beside:
        data.write_h5ad(beside)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a file to write to, which takes the place of ``path`` when all of it is there, or is gone.

    Raises:
        SpecError: the folder cannot be written to.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, suffix=".h5ad")
    except OSError as fault:
        raise SpecError(f"{path}: expected a folder to write to, got {fault.strerror}") from None
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def mark(element: Any, kind: str, version: str) -> None:
    """Say what an element of an open file is, in AnnData's words."""
    element.attrs.update({"encoding-type": kind, "encoding-version": version})


def _check(path: str, datasets: str) -> None:
    file = Path(path)
    if not file.exists():
        other = f" or a dataset ({datasets})" if datasets else ""
        raise SpecError(f"{path}: expected an .h5ad file{other}, nothing is there")
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


def _table(path: str, data: Any, layer: str, pick: Pick) -> Table:
    columns = {str(name): data.obs[name].tolist() for name in data.obs.columns}
    chosen = pick(columns)
    x, genes = _layer(path, data, layer, chosen)
    every = tuple(map(str, data.obs_names))
    if chosen is not None:
        columns = {name: [values[i] for i in chosen] for name, values in columns.items()}
        every = tuple(every[i] for i in chosen)
    told = data.uns.get("genotypes")
    genotypes = told if isinstance(told, dict) and told.get("coding") == "dosage" else {}
    return Table(
        source=path,
        x=x,
        genes=tuple(map(str, genes)),
        rows=every,
        columns=columns,
        tokens=_tokens(path, data.uns.get("tokens")),
        dosages=bool(genotypes),
        selected=str(genotypes.get("selected", "")),
    )


def _tokens(path: str, told: object) -> Vocabulary | None:
    """Return the vocabulary of a file of sequences; ``tokens`` of another form are some other tool's."""
    if not isinstance(told, dict) or set(told) != {"letters", "k"}:
        return None
    try:
        return Vocabulary.model_validate({"letters": str(told["letters"]), "k": int(told["k"])})
    except ValidationError as fault:
        raise SpecError(f"{path}: uns['tokens']: {finding(fault, Vocabulary)}") from None


def _layer(path: str, data: Any, layer: str, chosen: Array | None) -> tuple[Matrix, Iterable[str]]:
    """Return the chosen rows of a layer and its genes."""
    if layer == "X" and data.X is not None:
        return _matrix(data.X, chosen), data.var_names
    if layer == "raw" and data.raw is not None:
        return _matrix(data.raw.X, chosen), data.raw.var_names
    if layer in data.layers:
        return _matrix(data.layers[layer], chosen), data.var_names
    there = ["X"] * (data.X is not None) + ["raw"] * (data.raw is not None) + sorted(data.layers)
    raise SpecError(f"{path}: expected layer to be one of {', '.join(there) or '(none)'}, got {layer!r}")


def _matrix(x: Any, chosen: Array | None) -> Matrix:
    """Load rows of a matrix, which may be on the disk."""
    if chosen is not None:
        x = x[chosen] if chosen.size else x[:0]
    elif hasattr(x, "to_memory"):
        x = x.to_memory()
    return sparse.csr_array(x) if sparse.issparse(x) else np.asarray(x)  # type: ignore[call-overload]
