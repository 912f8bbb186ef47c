"""A masked release as an AnnData file: bytes that depend on the content alone, and no name of anybody.

``X`` holds what is told, people × variants: int8 dosages, −1 where not called, −2 where withheld; or float32, NaN where
withheld. ``var`` is named as the study's columns, has ``told`` and, of variants, ``contig``, ``position``, ``ref`` and
``alt``; ``obs`` has pseudonyms in an order by chance, and ``label`` where classes are released. ``uns["genotypes"]``
says what codes mean, ``uns["fedgenome"]`` where the file is from.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from fedgenome.cohort.h5ad import mark
from fedgenome.cohort.reference import place
from fedgenome.cohort.shard import Array
from fedgenome.errors import require

MASKED, LIST = "masked.h5ad", "list.txt"
_CODES = {"coding": "dosage", "missing": -1, "masked": -2, "selected": ""}


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

    fits = (*x.shape[1:], *told.shape) == (len(variants),) * 2 and (label is None or len(label) == len(x))
    require(fits, "rows, variants and labels that fit", rows=x.shape, variants=len(variants))
    order = rng.permutation(len(x))
    obs = {} if label is None else {"label": pd.Categorical([label[i] for i in order])}
    uns: dict[str, Any] = {"fedgenome": dict(sorted(marks.items()))}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write_elem(file, "X", x[order], dataset_kwargs={"compression": "gzip"} if x.size else {})
        write_elem(file, "obs", pd.DataFrame(obs, index=[f"person-{i}" for i in range(len(x))]))
        write_elem(file, "var", pd.DataFrame(_places(variants) | {"told": told}, index=list(variants)))
        write_elem(file, "uns", uns | ({"genotypes": _CODES} if x.dtype == np.int8 else {}))
        mark(file, "anndata", "0.1.0")
    return buffer.getvalue()


def _places(variants: Sequence[str]) -> dict[str, Any]:
    """Return contig, position, REF and ALT of every column, where their names tell them."""
    found = [place(name) for name in variants]
    known = [one for one in found if one is not None]
    if not known or len(known) < len(found):
        return {}
    return dict(zip(("contig", "position", "ref", "alt"), map(list, zip(*known, strict=True)), strict=True))


def list_text(variants: Sequence[str], told: Array) -> bytes:
    """Return the list of what is told, one a line: a panel that cohorts can name."""
    return "".join(f"{name}\n" for name, kept in zip(variants, told, strict=True) if kept).encode()
