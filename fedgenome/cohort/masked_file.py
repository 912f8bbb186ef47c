"""A masked release as an AnnData file: bytes that depend on the content alone, and no name of anybody.

``X`` holds what is told, people × variants: int8 dosages, −1 where not called, −2 (``MASK``) where withheld; or float32,
NaN where withheld. ``var`` is named as the study's columns and has ``told``; ``obs`` has pseudonyms in an order by chance,
and ``label`` where classes are released. ``uns["genotypes"]`` says what codes mean, ``uns["fedgenome"]`` where it is from.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import h5py
import numpy as np

from fedgenome.cohort.h5ad import mark
from fedgenome.cohort.shard import Array
from fedgenome.errors import require

MASKED, LIST = "masked.h5ad", "list.txt"


def masked_h5ad(
    x: Array,
    variants: Sequence[str],
    told: Array,
    label: Sequence[str] | None,
    marks: Mapping[str, str | bool | int | float],
    rng: np.random.Generator,
) -> bytes:
    """Return the file.

    Args:
        x: int8 or float32 (people, variants), as above.
        variants: Names of the columns.
        told: bool (variants,): told of anybody.
        label: The class of each, or None: not released.
        marks: What ``uns["fedgenome"]`` says.
        rng: Draws the order of rows.

    Raises:
        SpecError: shapes do not fit.
    """
    import pandas as pd  # both are slow to import, and only this function needs them
    from anndata.io import write_elem

    fits = x.shape[1:] == told.shape == (len(variants),) and (label is None or len(label) == len(x))
    require(fits, "rows, variants and labels that fit", rows=x.shape, variants=len(variants))
    order = rng.permutation(len(x))
    names = [f"person-{i}" for i in range(len(x))]
    obs = pd.DataFrame({} if label is None else {"label": pd.Categorical([label[i] for i in order])}, index=names)
    genotypes = {"coding": "dosage", "missing": -1, "masked": -2, "selected": ""} if x.dtype == np.int8 else {}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write_elem(file, "X", x[order], dataset_kwargs={"compression": "gzip"} if x.size else {})
        write_elem(file, "obs", obs)
        write_elem(file, "var", pd.DataFrame({"told": told}, index=list(variants)))
        write_elem(
            file, "uns", {"fedgenome": dict(sorted(marks.items()))} | ({"genotypes": genotypes} if genotypes else {})
        )
        mark(file, "anndata", "0.1.0")
    return buffer.getvalue()


def list_text(variants: Sequence[str], told: Array) -> bytes:
    """Return the list of what is told, one a line: a panel that cohorts can name."""
    return "".join(f"{name}\n" for name, kept in zip(variants, told, strict=True) if kept).encode()
