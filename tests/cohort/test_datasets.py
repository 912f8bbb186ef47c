"""The packaged public cells."""

import subprocess
import sys
import warnings

import anndata
import numpy as np
import pytest

from fedgenome.cohort.datasets import DATASETS, _pbmc68k_path, pbmc68k
from fedgenome.errors import SpecError


def test_pbmc68k_is_the_700_by_765_cells_of_ten_classes():
    cohort = pbmc68k()
    assert cohort.x.shape == (700, 765)
    assert len(cohort.labels) == len(set(cohort.labels)) == 10
    assert np.bincount(cohort.label).tolist() == [68, 8, 19, 54, 43, 129, 95, 13, 31, 240]
    assert len(set(cohort.rows)) == 700


def test_pbmc68k_holds_log_values_not_z_scores():
    x = pbmc68k().x
    assert x.min() == 0
    assert x.max() == pytest.approx(6.489, abs=1e-3)
    assert np.mean(x == 0) == pytest.approx(1 - 174_400 / (700 * 765))


def test_pbmc68k_is_what_anndata_reads():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some thirty, about the age of the file's layout
        oracle = anndata.read_h5ad(_pbmc68k_path())
    cohort = pbmc68k()
    assert np.array_equal(cohort.x, oracle.raw.X.toarray())
    assert cohort.genes == tuple(oracle.raw.var_names)
    assert cohort.rows == tuple(oracle.obs_names)
    assert [cohort.labels[i] for i in cohort.label] == oracle.obs["bulk_labels"].tolist()


def test_pbmc68k_is_public_and_its_unit_a_cell():
    cohort = pbmc68k()
    assert cohort.public
    assert cohort.unit_text == "row (cell), not a person"
    assert "Zheng" in cohort.provenance
    assert "\n" not in cohort.provenance


def test_pbmc68k_loads_neither_scanpy_nor_anndata():
    code = "import sys; from fedgenome.cohort.datasets import pbmc68k; pbmc68k(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "h5py" in done.stdout.split()
    assert not {"scanpy", "anndata", "pandas"} & set(done.stdout.split())


def test_z_scored_layer_of_pbmc68k_is_refused():
    with pytest.raises(SpecError, match=r"pbmc68k: expected layer 'raw' \(its X is z-scored over all cells\), got 'X'"):
        DATASETS["pbmc68k"].open("X")


def test_pbmc68k_without_scanpy_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match="pbmc68k: expected scanpy to be installed"):
        pbmc68k()
