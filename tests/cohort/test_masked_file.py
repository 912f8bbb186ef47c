"""The file of a masked release: codes, pseudonyms, and bytes that depend on the content alone."""

import io

import anndata
import h5py
import numpy as np
import pytest

from fedgenome.cohort.masked_file import list_text, masked_h5ad
from fedgenome.errors import SpecError

X = np.array([[0, -2, -1], [2, -2, 1]], np.int8)
NAMES, TOLD = ("1:5:A:G", "1:7:C:T", "X:9:G:T"), np.array([True, False, True])


def write(x=X, label=("u", "v"), names=NAMES):
    return masked_h5ad(x, names, TOLD, label, {"rows": "masked"}, np.random.default_rng(1))


def test_people_have_pseudonyms_in_an_order_by_chance_and_classes_go_with_them():
    read = anndata.read_h5ad(io.BytesIO(write()))
    order = np.random.default_rng(1).permutation(2)
    np.testing.assert_array_equal(read.X, X[order])
    assert read.obs["label"].tolist() == [("u", "v")[i] for i in order] and list(read.obs_names) == [
        "person-0",
        "person-1",
    ]
    assert read.var["told"].tolist() == TOLD.tolist() and read.var["position"].tolist() == [5, 7, 9]
    assert read.uns["genotypes"]["masked"] == -2 and read.uns["fedgenome"]["rows"] == "masked"


def test_the_same_rows_give_the_same_bytes_and_no_class_unless_it_is_released():
    assert write() == write() != write(label=None)
    assert list(anndata.read_h5ad(io.BytesIO(write(label=None))).obs.columns) == []


def test_values_are_no_genotypes_and_withheld_ones_nan():
    data = write(np.where(X > 0, X, np.nan).astype(np.float32), names=("TP53", "MYC", "LYZ"))
    with h5py.File(io.BytesIO(data)) as file:
        assert "genotypes" not in file["uns"] and np.isnan(file["X"][:]).sum() == 4 and "position" not in file["var"]


def test_the_list_is_a_line_a_name():
    assert list_text(NAMES, TOLD) == b"1:5:A:G\nX:9:G:T\n"


def test_what_does_not_fit_is_refused():
    with pytest.raises(SpecError, match="expected rows, variants and labels that fit"):
        write(label=("u",))
