"""Reading h5ad files: every layer, only the rows that are asked for; writing them whole."""

import tracemalloc

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from fedgenome.cohort.expression import open_source, read
from fedgenome.cohort.h5ad import open_h5ad, write_h5ad
from fedgenome.cohort.table import Table, dense
from fedgenome.errors import SpecError


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
        open_source("no/such.h5ad", "X")


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


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("layer", ["X", "counts", "raw"])
@pytest.mark.parametrize("chosen", [[], [4], [0, 2, 3]])
def test_picked_rows_are_those_of_the_whole_file(write, form, layer, chosen):
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    path = write(form(x), layers={"counts": form(2 * x)}, raw=(("A", "B", "C", "D"), form(3 * x)))
    whole = open_h5ad(path, layer)
    some = open_h5ad(path, layer, lambda columns: np.array(chosen, np.int64))
    assert np.array_equal(dense(some.x), dense(whole.x)[chosen])
    assert some.rows == tuple(whole.rows[i] for i in chosen)
    assert list(some.columns["kind"]) == [list(whole.columns["kind"])[i] for i in chosen]


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Return a sparse file of 3,000 × 1,000 counts, 12 MB if it were dense, of which "mine" is a hundredth."""
    rng = np.random.default_rng(3)
    x = sparse.random_array((3000, 1000), density=0.03, rng=rng, format="csr", dtype=np.float32)
    x.data = np.ceil(4 * x.data)
    obs = pd.DataFrame({"kind": "T", "site": np.where(np.arange(3000) % 100 == 7, "mine", "theirs")})
    obs.index = [f"cell-{i}" for i in range(3000)]
    path = tmp_path_factory.mktemp("wide") / "wide.h5ad"
    anndata.AnnData(x, obs, pd.DataFrame(index=[f"G{i}" for i in range(1000)])).write_h5ad(path)
    return str(path)


@pytest.mark.parametrize("scale", ["counts", "log"])
def test_rows_of_other_sites_are_not_loaded(wide, spec, scale):
    asked = spec(wide, scale=scale, site="site", only=("mine",), high=20)
    read(asked)  # whatever is loaded once, is loaded now
    tracemalloc.start()
    cohort = read(asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(cohort.site) == {"mine"} and cohort.x.shape == (30, 1000)
    assert peak < 4e6, "a third of what the file's matrix takes when dense"
    x = anndata.read_h5ad(wide).X.toarray()[7::100].astype(float)
    naive = np.log1p(1e4 * x / x.sum(1, keepdims=True)) if scale == "counts" else x
    assert cohort.x == pytest.approx(naive, rel=1e-6)


def test_sparse_counts_become_dense_once(wide, spec):
    """One float32 matrix and its read-only copy of the whole, blocks of float64 of 8 MB beside them."""
    asked = spec(wide, scale="counts", high=20)
    tracemalloc.start()
    cohort = read(asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * cohort.x.nbytes + 36e6


def test_site_that_has_no_rows_is_told_those_there_are(write, spec):
    path = write(obs={"kind": ["T"] * 6, "site": list("aabbcc")})
    with pytest.raises(SpecError, match=r"obs\['site'\]: expected rows of 'd', got none \(it has 'a', 'b', 'c'\)"):
        read(spec(path, site="site", only=("d",)))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_written_table_reads_as_it_was(tmp_path, form):
    x = np.array([[0, 1.5], [2, 0], [0, 0]], np.float32)
    table = Table(source="s", x=form(x), genes=("A", "B"), rows=("r", "s", "t"), columns={"kind": ["T", "", "B"]})
    write_h5ad(table, tmp_path / "out.h5ad")
    back = open_h5ad(str(tmp_path / "out.h5ad"), "X")
    assert np.array_equal(dense(back.x), x)
    assert (back.genes, back.rows, list(back.columns["kind"])) == (table.genes, table.rows, ["T", "", "B"])
    assert [one.name for one in tmp_path.iterdir()] == ["out.h5ad"]


def test_folder_that_is_not_there_is_said_before_writing(tmp_path):
    table = Table(source="s", x=np.zeros((1, 1), np.float32), genes=("A",), rows=("r",), columns={})
    with pytest.raises(SpecError, match=r"out\.h5ad: expected a folder to write to, got No such file"):
        write_h5ad(table, tmp_path / "none" / "out.h5ad")
