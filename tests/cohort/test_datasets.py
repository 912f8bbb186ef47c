"""The packaged public cells, and opening h5ad files."""

import subprocess
import sys
import warnings

import anndata
import h5py
import numpy as np
import pytest
from scipy import sparse

from fedgenome.cohort.datasets import DATASETS, _pbmc68k_path, open_h5ad, pbmc68k
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


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
def test_dense_and_sparse_files_open_alike(write, form):
    x = np.array([[0, 1], [2, 0], [0, 0]], np.float32)
    table = open_h5ad(write(form(x), genes=("A", "B")), "X")
    assert np.array_equal(table.x if isinstance(table.x, np.ndarray) else table.x.toarray(), x)


def test_each_layer_comes_with_its_own_genes(write):
    x = np.ones((2, 4), np.float32)
    path = write(x, layers={"counts": 2 * x}, raw=(("A", "B"), np.full((2, 2), 3.0, np.float32)))
    tables = {layer: open_h5ad(path, layer) for layer in ("X", "counts", "raw")}
    assert {layer: table.x.max() for layer, table in tables.items()} == {"X": 1, "counts": 2, "raw": 3}
    assert tables["raw"].genes == ("A", "B")


def test_missing_layer_lists_those_there_are(write):
    path = write(layers={"counts": np.ones((6, 4), np.float32)})
    with pytest.raises(SpecError, match=r"cohort\.h5ad: expected layer to be one of X, counts, got 'raw'"):
        open_h5ad(path, "raw")


def test_path_that_is_not_there_is_one_clear_line():
    with pytest.raises(
        SpecError, match=r"^no/such\.h5ad: expected an \.h5ad file or a dataset \(pbmc68k\), nothing is there$"
    ):
        open_h5ad("no/such.h5ad", "X")


def _text(path):
    path.write_text("gene,cell\n")


def _folder(path):
    path.mkdir()


def _plain_hdf5(path):
    with h5py.File(path, "w") as file:
        file["obs"] = np.zeros(2)


def _cut_short(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(5000)
    path.write_bytes(path.read_bytes()[:20_000])


def _bad_parts(path):
    with h5py.File(path, "w") as file:
        for part in ("obs", "var"):
            file.create_group(part).attrs.update({"encoding-type": "dataframe", "encoding-version": "9.9.9"})


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (_text, "one that is not HDF5"),
        (_folder, "got a folder"),
        (_plain_hdf5, "HDF5 file without var"),
        (_cut_short, "damaged HDF5 file"),
        (_bad_parts, "expected a readable h5ad, got "),
    ],
)
def test_file_that_is_not_an_h5ad_is_one_clear_line(tmp_path, make, text):
    make(tmp_path / "odd.h5ad")
    with pytest.raises(SpecError, match=rf"odd\.h5ad: .*{text}") as caught:
        open_h5ad(str(tmp_path / "odd.h5ad"), "X")
    assert "\n" not in str(caught.value)
