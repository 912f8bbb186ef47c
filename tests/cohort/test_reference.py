"""A second panel under a cohort's variants: whichever allele and strand it counts, dosages are of the cohort's ALT."""

import anndata
import numpy as np
import pandas as pd
import pytest

from fedgenome.cohort.reference import read_reference
from fedgenome.errors import SpecError

OURS = ("1:10:A:G", "1:20:A:G", "1:30:A:G", "1:40:A:T", "1:50:C:T")


def write(path, names, x, ids=("p", "q"), dosages=True, **obs):
    data = anndata.AnnData(x, obs=pd.DataFrame(obs, index=list(ids)), var=pd.DataFrame(index=list(names)))
    if dosages:
        data.uns["genotypes"] = {"coding": "dosage"}
    data.write_h5ad(path)
    return str(path)


def read(path, variants=OURS, **asked):
    return read_reference(path, variants, **{"dosages": True, "id": None, "label": "label"} | asked)


def test_swapped_alleles_are_turned_and_strands_joined_and_what_is_absent_is_not_told(tmp_path):
    theirs = ("chr1:10:A:G", "1:20:G:A", "1:30:T:C", "1:40:A:T", "2:50:C:T")
    x = np.array([[0, 0, 1, 2, 1], [-1, -1, 2, 1, 0]], np.int8)
    found = read(write(tmp_path / "a.h5ad", theirs, x, label=["u", "v"]))
    assert found.x.tolist() == [[0, 2, 1, 2, -1], [-1, -1, 2, 1, -1]] and found.x.dtype == np.int8
    assert found.joined == {"joined": 4, "swapped": 1, "complemented": 1}
    assert found.ids == ("p", "q") and found.label == ("u", "v")


def test_other_values_are_joined_by_name(tmp_path):
    path = write(tmp_path / "b.h5ad", ("TP53", "MYC"), np.ones((2, 2), np.float32), dosages=False)
    found = read(path, ("MYC", "LYZ"), dosages=False)
    np.testing.assert_array_equal(found.x, [[1, np.nan], [1, np.nan]])
    assert found.label == ("", "")


@pytest.mark.parametrize(
    ("change", "asked", "message"),
    [
        ({"person": ["r", "r"]}, {"id": "person"}, "expected every person once, got 'r' twice"),
        ({}, {"id": "who"}, "expected an obs column 'who'"),
        ({}, {"dosages": False}, "expected values as the cohort's, not genotypes"),
        ({}, {"variants": ("9:9:A:C",)}, "expected some of the cohort's 1 variants, got none"),
    ],
)
def test_a_panel_that_fits_nobody_is_refused(tmp_path, change, asked, message):
    path = write(tmp_path / "c.h5ad", OURS, np.zeros((2, 5), np.int8), **change)
    with pytest.raises(SpecError, match=message):
        read(path, **asked)
