"""Small h5ad files, written by anndata as a user's tool would."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest

from fedgenome.cohort.expression import CohortSpec

GENES = ("CD3D", "CD8A", "MS4A1", "LYZ")


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a cohort of four genes, changed as asked, and returns its path."""

    def write_h5ad(x=None, *, genes=GENES, rows=None, obs=None, layers=None, raw=None, name="cohort.h5ad"):
        x = np.arange(24, dtype=np.float32).reshape(6, 4) / 4 if x is None else x
        rows = [f"cell-{i}" for i in range(x.shape[0])] if rows is None else rows
        obs = {"kind": ["T", "B"] * (x.shape[0] // 2) + ["T"] * (x.shape[0] % 2)} if obs is None else obs
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
            data = anndata.AnnData(x, pd.DataFrame(obs, index=rows), pd.DataFrame(index=list(genes)), layers=layers)
            if raw is not None:
                data.raw = anndata.AnnData(raw[1], data.obs, pd.DataFrame(index=list(raw[0])))
            data.write_h5ad(tmp_path / name)
        return str(tmp_path / name)

    return write_h5ad


@pytest.fixture
def spec():
    """Return a function that gives the spec of a written file, changed as asked."""

    def spec_of(source, **changes):
        return CohortSpec(
            **{"source": source, "label": "kind", "labels": ("T", "B"), "scale": "log", "high": 9, **changes}
        )

    return spec_of
