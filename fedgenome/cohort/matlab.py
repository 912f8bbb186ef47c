"""Expression in MATLAB's files, DeepType's ``BRCA1View20000.mat`` among them (Chen et al. 2020).

One matrix, genes × samples as DeepType has it, or samples × genes; a vector of gene names, one of sample names, and any
other vector that is as long as there are samples becomes an obs column under its own name (DeepType: ``targets``, 1 to
6). Which way round the matrix is, the number of sample names says, never its values. Files up to MATLAB's version 7 are
read; those of 7.3 are HDF5, and refused.

A gene that stands twice is read once, where it stands first, as in cBioPortal's files.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from fedgenome.cohort.shard import Array
from fedgenome.cohort.table import Table
from fedgenome.errors import SpecError, did_you_mean
from fedgenome.strict import Strict


class Variables(Strict):
    """What the variables of a MATLAB file are called; by default as in DeepType's."""

    data: str = Field(default="data", min_length=1, description="the matrix of expression")
    genes: str = Field(default="gene", min_length=1, description="names of its genes")
    samples: str = Field(default="id", min_length=1, description="names of its samples")


DEEPTYPE = Variables()


def is_matlab(source: str) -> bool:
    """Return whether a source is a MATLAB file, by its name.

    >>> is_matlab("BRCA1View20000.mat"), is_matlab("brca.h5ad")
    (True, False)
    """
    return source.endswith(".mat")


def open_matlab(path: str, names: Variables = DEEPTYPE) -> Table:
    """Open a MATLAB file.

    Returns:
        A table of float32 (samples, genes).

    Raises:
        SpecError: the file cannot be read, has no such variable (says which it has), or shapes do not fit.
    """
    found = _read(path)
    for name in (names.data, names.genes, names.samples):
        if name not in found:
            near = did_you_mean(name, found, f"it has {', '.join(sorted(found)) or 'none'}")
            raise SpecError(f"{path}: expected a variable {name!r}, got none of that name ({near}): name it in matlab")
    x, genes, samples = found[names.data], _texts(found[names.genes]), _texts(found[names.samples])
    told = f"{len(genes)} {names.genes} × {len(samples)} {names.samples}"
    if x.dtype.kind not in "fiub" or x.shape not in ((len(genes), len(samples)), (len(samples), len(genes))):
        rule = f"expected {names.data} to be a matrix of numbers, {told} or the other way round"
        raise SpecError(f"{path}: {rule}; got {x.dtype} {x.shape}")
    first = {name: i for i, name in reversed(list(enumerate(genes)))}
    kept = sorted(first.values())
    rows = x.T if x.shape == (len(genes), len(samples)) else x  # as DeepType has it where both would fit
    return Table(
        source=path,
        x=np.asarray(rows[:, kept], np.float32),
        genes=tuple(genes[i] for i in kept),
        rows=tuple(samples),
        columns=_columns(found, names, len(samples)),
    )


def _read(path: str) -> Mapping[str, Any]:
    """Return the file's variables."""
    from scipy import io  # only this function needs it

    try:
        found = io.loadmat(path)
    except NotImplementedError:  # what SciPy says of HDF5
        raise SpecError(f"{path}: expected a MATLAB file up to version 7, got 7.3: save it with '-v7'") from None
    except OSError as fault:
        raise SpecError(f"{path}: expected a MATLAB file, got {fault.strerror or fault}") from None
    except (ValueError, TypeError, KeyError, zlib.error, io.matlab.MatReadError) as fault:
        raise SpecError(f"{path}: expected a MATLAB file, got {type(fault).__name__}: {fault}") from None
    return {name: np.asarray(value) for name, value in found.items() if not name.startswith("__")}


def _texts(vector: Array) -> list[str]:
    """Return names, of cells or of numbers; MATLAB pads the lines of a matrix of letters with blanks."""
    return [str(np.asarray(each).ravel()[0]).strip() if np.size(each) else "" for each in vector.ravel()]


def _columns(found: Mapping[str, Any], names: Variables, samples: int) -> dict[str, list[object]]:
    """Return the vectors of one value a sample."""
    others = {name: value for name, value in found.items() if name not in (names.data, names.genes, names.samples)}
    return {
        name: list(_texts(value)) if value.dtype.kind in "OU" else value.ravel().tolist()
        for name, value in others.items()
        if value.dtype.kind in "OUfiub" and value.size == samples == max(value.shape, default=0)
    }
