"""MATLAB's files: as DeepType ships METABRIC, the other way round, under other names, and their faults."""

import re

import numpy as np
import pytest
from scipy.io import savemat

from fedgenome.cohort.expression import CohortSpec, read
from fedgenome.cohort.matlab import Variables, open_matlab
from fedgenome.errors import SpecError

X = np.array([[9.5, 5, 1], [6, 5.5, 2]])  # genes × samples
GENES, IDS = ["ESR1", "GATA3"], ["MB-1", "MB-2", "MB-3"]


def cells(names):
    """Return a MATLAB cell array of texts, 1 × n as DeepType's."""
    out = np.empty((1, len(names)), object)
    out[0] = names
    return out


@pytest.fixture
def write(tmp_path):
    def written(**changes):
        told = {"data": X, "targets": np.array([[3.0], [1.0], [3.0]]), "gene": cells(GENES), "id": cells(IDS)}
        told |= changes
        savemat(tmp_path / "view.mat", {name: value for name, value in told.items() if value is not None})
        return str(tmp_path / "view.mat")

    return written


@pytest.mark.parametrize("x", [X, X.T], ids=["genes × samples", "samples × genes"])
def test_names_say_which_way_round_the_matrix_is(write, x):
    table = open_matlab(write(data=x))
    assert (table.rows, table.genes) == (tuple(IDS), tuple(GENES))
    np.testing.assert_array_equal(table.x, X.T.astype(np.float32))
    assert table.columns["targets"] == [3.0, 1.0, 3.0]


def test_a_square_matrix_is_as_deeptype_has_it(write):
    square = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(open_matlab(write(data=square, gene=cells(["a", "b", "c"]))).x, square.T)


def test_a_cohort_is_read_by_the_same_rules_as_any(write):
    told = {"label": "targets", "labels": ("1", "3"), "scale": "log", "high": 15.0}
    cohort = read(CohortSpec(source=write(), **told))
    assert cohort.label.tolist() == [1, 0, 1]
    assert cohort.rows == tuple(IDS)


def test_variables_may_have_other_names_and_samples_may_be_numbered(write):
    path = write(data=None, X=X, gene=None, symbols=np.array(["ESR1 ", "GATA3"]), id=None, number=[[7, 8, 9]])
    table = open_matlab(path, Variables(data="X", genes="symbols", samples="number"))
    assert (table.rows, table.genes) == (("7", "8", "9"), tuple(GENES))


def test_a_gene_that_stands_twice_is_read_where_it_stands_first(write):
    table = open_matlab(write(data=np.vstack([X, X[0] - 1]), gene=cells([*GENES, "ESR1"])))
    assert table.genes == tuple(GENES)
    np.testing.assert_array_equal(table.x[:, 0], X[0].astype(np.float32))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gene": None}, r"expected a variable 'gene', got none of that name (it has data, id, targets)"),
        ({"data": X[:, :2]}, r"expected data to be a matrix of numbers, 2 gene × 3 id or the other way round"),
        ({"data": cells(["a", "b"])}, r"expected data to be a matrix of numbers"),
    ],
)
def test_faults_are_said_in_one_line(write, changes, said):
    with pytest.raises(SpecError, match=re.escape(said)):
        open_matlab(write(**changes))


@pytest.mark.parametrize("content", [b"", b"no MATLAB at all, but as long as its header would be" * 10])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "view.mat").write_bytes(content)
    with pytest.raises(SpecError, match="expected a MATLAB file"):
        open_matlab(str(tmp_path / "view.mat"))


def test_hdf5_is_told_what_to_do(tmp_path):
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "view.mat").write_bytes(header + bytes(512))
    with pytest.raises(SpecError, match="save it with '-v7'"):
        open_matlab(str(tmp_path / "view.mat"))


def test_names_of_variables_go_with_such_a_file_alone():
    told = {"label": "targets", "labels": ("1",), "scale": "log", "high": 15.0}
    with pytest.raises(ValueError, match=r"expected matlab only with a \.mat source"):
        CohortSpec(source="brca.h5ad", matlab={"data": "X"}, **told)


def test_a_damaged_file_is_named_in_one_line(tmp_path):
    path = tmp_path / "damaged.mat"
    savemat(path, {"data": np.arange(2000.0).reshape(50, 40)}, do_compression=True)
    damaged = bytearray(path.read_bytes())
    damaged[300] ^= 255
    path.write_bytes(damaged)
    with pytest.raises(SpecError, match=r"damaged\.mat: expected a MATLAB file, got error"):
        open_matlab(str(path), Variables())
