"""Reading a cohort: what works, every refusal, and fitting it to a study."""

import warnings

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from fedgenome.cohort.expression import CohortSpec, align, read, schema_of
from fedgenome.errors import SpecError
from fedgenome.study import Schema

KIND = ["T", "B", "T", "B", "T", "B"]


def refusal(spec):
    with pytest.raises(SpecError) as caught:
        read(spec)
    text = str(caught.value)
    assert "\n" not in text
    return text


def changed(row, column, value, dtype=np.float32):
    x = np.ones((6, 4), dtype)
    x[row, column] = value
    return x


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_log_values_are_read_as_they_are(write, spec, form):
    x = np.arange(24, dtype=np.float32).reshape(6, 4) / 4
    cohort = read(spec(write(form(x))))
    assert np.array_equal(cohort.x, x)
    assert cohort.label.tolist() == [0, 1, 0, 1, 0, 1]
    assert (cohort.unit, cohort.clipped, cohort.public, cohort.rows[1]) == ("row", 0, False, "cell-1")


@given(hnp.arrays(np.int32, (3, 4), elements=st.integers(0, 2000)))
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_become_log1p_of_ten_thousand_a_row(write, spec, counts):
    cohort = read(spec(write(sparse.csr_matrix(counts)), scale="counts", high=20, panel=("LYZ", "CD3D")))
    for i, row in enumerate(counts):
        naive = [np.log1p(1e4 * row[j] / max(sum(row.tolist()), 1)) for j in (3, 0)]
        assert cohort.x[i] == pytest.approx(naive, rel=1e-6)


def test_a_rows_value_depends_on_no_other_row(write, spec):
    counts = np.arange(1, 25, dtype=np.float32).reshape(6, 4)
    every = read(spec(write(counts), scale="counts"))
    alone = read(spec(write(counts[2:3], name="one.h5ad"), scale="counts"))
    assert np.array_equal(every.x[2], alone.x[0])


def test_panel_gives_order_and_names_of_missing_genes(write, spec):
    cohort = read(spec(write(), panel=("LYZ", "FOXP3", "CD3D")))
    assert cohort.genes == ("LYZ", "CD3D")
    assert cohort.missing == ("FOXP3",)
    assert cohort.x[0].tolist() == [0.75, 0]


def test_named_dataset_takes_a_named_panel_and_its_own_provenance():
    labels = ("CD19+ B", "CD14+ Monocyte", "Dendritic", "CD56+ NK", "CD34+", "CD4+/CD25 T Reg", "CD4+/CD45RO+ Memory")
    labels += ("CD4+/CD45RA+/CD25- Naive T", "CD8+ Cytotoxic T", "CD8+/CD45RA+ Naive Cytotoxic")
    options = {"label": "bulk_labels", "labels": labels, "layer": "raw", "scale": "log", "high": 7}
    cohort = read(CohortSpec(source="pbmc68k", panel="blood_markers", **options))
    assert cohort.x.shape == (700, len(cohort.genes))
    assert np.bincount(cohort.label)[labels.index("CD4+/CD45RA+/CD25- Naive T")] == 8
    assert (cohort.public, cohort.unit_text) == (True, "row (cell), not a person")
    assert set(cohort.missing).isdisjoint(cohort.genes)


def test_values_beyond_the_public_range_are_clipped_and_counted(write, spec):
    cohort = read(spec(write(), low=1, high=4))
    assert (cohort.x.min(), cohort.x.max()) == (1, 4)
    assert cohort.clipped == pytest.approx((4 + 7) / 24)


def test_class_without_rows_is_kept_and_codes_follow_the_public_list(write, spec):
    cohort = read(spec(write(), labels=("NK", "B", "T")))
    assert cohort.labels == ("NK", "B", "T")
    assert cohort.label.tolist() == [2, 1, 2, 1, 2, 1]


def test_donor_may_have_several_rows_and_classes(write, spec):
    cohort = read(spec(write(obs={"kind": KIND, "who": list("aabbcc")}), donor="who"))
    assert cohort.owners == tuple("aabbcc")
    assert cohort.unit == "donor"


def test_whole_numbers_as_labels_or_ids_read_without_a_point(write, spec):
    obs = {"kind": [1.0, 2.0, np.nan, 1.0, 2.0, 1.0], "who": [7, 7, 8, 8, 9, 9]}
    cohort = read(spec(write(obs=obs), labels=("1", "2"), donor="who", drop_unlabelled=True))
    assert cohort.label.tolist() == [0, 1, 0, 1, 0]
    assert cohort.owners == ("7", "7", "8", "9", "9")


@pytest.mark.parametrize("blank", ["", None, np.nan, "  "])
def test_unlabelled_rows_are_refused_with_their_number(write, spec, blank):
    path = write(obs={"kind": pd.Categorical(["T", "B", blank, "B", blank, "T"])})
    text = refusal(spec(path))
    assert text.endswith("obs['kind']: expected a label for every row, 2 of 6 have none: label them, "
                         "or set drop_unlabelled = true")  # fmt: skip
    assert read(spec(path, drop_unlabelled=True)).rows == ("cell-0", "cell-1", "cell-3", "cell-5")


def test_file_without_any_label_is_refused_even_when_dropping(write, spec):
    text = refusal(spec(write(obs={"kind": [""] * 6}), drop_unlabelled=True))
    assert "expected labelled rows, got none among 6" in text


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_is_refused_by_row_and_gene(write, spec, form, value):
    x = changed([2, 4], [1, 0], value)
    text = refusal(spec(write(form(x))))
    assert "cohort.h5ad: row 'cell-2', gene 'CD8A': expected finite values" in text
    assert text.endswith(f"got {value:g} (in all 2 such values)")


def test_nan_outside_the_panel_or_in_a_dropped_row_does_no_harm(write, spec):
    x = changed(2, 1, np.nan)
    assert read(spec(write(x), panel=("CD3D", "LYZ"))).x.shape == (6, 2)
    kind = ["T", "B", "", "B", "T", "B"]
    assert read(spec(write(x, obs={"kind": kind}), drop_unlabelled=True)).x.shape == (5, 4)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(("value", "rule"), [(-3, "counts >= 0"), (2.5, "whole counts"), (np.nan, "finite values")])
def test_what_is_no_count_is_refused_where_counts_are_declared(write, spec, form, value, rule):
    text = refusal(spec(write(form(changed(3, 2, value))), scale="counts", panel=("CD3D",)))
    assert f"row 'cell-3', gene 'MS4A1': expected {rule}" in text
    assert f"got {value:g}" in text


def test_negative_log_values_are_fine_in_a_range_that_holds_them(write, spec):
    assert read(spec(write(changed(3, 2, -3)), low=-5)).x.min() == -3


def test_row_named_in_a_refusal_is_right_after_dropping_rows(write, spec):
    path = write(changed(4, 3, np.nan), obs={"kind": ["", "B", "", "B", "T", "B"]})
    assert "row 'cell-4', gene 'LYZ'" in refusal(spec(path, drop_unlabelled=True))


def test_duplicated_gene_names_are_refused(write, spec):
    text = refusal(spec(write(genes=("CD3D", "LYZ", "CD3D", "LYZ"))))
    assert text.endswith("cohort.h5ad: expected every gene name once, got 'CD3D' 2 times (and 1 more names)")


@pytest.mark.parametrize("name", ["Unnamed: 0", "index", "_index", "gene_id", "GeneID", "", "X", "cell_id", "rownames"])
def test_index_column_read_as_a_gene_is_refused_by_name(write, spec, name):
    text = refusal(spec(write(genes=("CD3D", name, "MS4A1", "LYZ"))))
    assert f"gene {name!r} (column 2) looks like an index column" in text


@pytest.mark.parametrize("name", ["ID1", "VARS", "CELSR1", "GENE1", "XIST", "SAMD3", "SYMPK", "IDI1"])
def test_gene_symbol_is_not_taken_for_an_index(write, spec, name):
    assert name in read(spec(write(genes=("CD3D", name, "MS4A1", "LYZ")))).genes


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_column_that_counts_the_rows_is_refused_whatever_its_name(write, spec, form, first):
    x = np.ones((12, 4), np.float32)
    x[:, 3] = np.arange(12) + first
    assert "gene 'LYZ' (column 4) looks like an index column" in refusal(spec(write(form(x))))
    x[11, 3] = 5
    assert read(spec(write(form(x)), high=20)).x.shape == (12, 4)


def test_matrix_that_is_not_numbers_is_refused(write, spec):
    path = write(layers={"calls": np.array([["A"] * 4] * 6, dtype=object)})
    assert "expected a matrix of numbers, got values of type " in refusal(spec(path, layer="calls"))


def test_missing_obs_column_names_near_matches(write, spec):
    path = write(obs={"kind": KIND, "patient": list("aabbcc")})
    assert "expected an obs column 'Patients', got none of that name (did you mean 'patient'?)" in refusal(
        spec(path, donor="Patients")
    )
    assert "obs column 'hospital', got none of that name (the file has 'kind', 'patient')" in refusal(
        spec(path, site="hospital")
    )


def test_class_not_in_the_public_list_is_refused(write, spec):
    text = refusal(spec(write(obs={"kind": ["T", "B", "b", "NK", "NK", "T"]})))
    assert text.endswith("obs['kind']: expected only classes listed in labels, got 'b' (1 rows; did you mean 'B'?)")
    text = refusal(spec(write(obs={"kind": ["T", "B", "NK", "NK", "T", "T"]})))
    assert "got 'NK' (2 rows; labels = 'T', 'B')" in text


@pytest.mark.parametrize(("field", "what"), [("donor", "donor id"), ("site", "site")])
def test_row_without_an_owner_is_refused(write, spec, field, what):
    path = write(obs={"kind": KIND, "who": ["a", "a", "", "b", None, "c"]})
    text = refusal(spec(path, **{field: "who"}))
    assert text.endswith(f"obs['who']: expected a {what} for every row, 2 of 6 have none, the first is row 'cell-2'")


def test_repeated_row_names_need_a_donor_column(write, spec):
    path = write(rows=["a", "b", "c", "a", "e", "f"], obs={"kind": KIND, "who": list("aabbcc")})
    assert read(spec(path, donor="who")).x.shape == (6, 4)
    assert "every row name once, as there is no donor column, got repeated=['a']" in refusal(spec(path))


def test_panel_without_a_gene_of_the_file_is_refused(write, spec):
    text = refusal(spec(write(), panel=("FOXP3", "CTLA4")))
    assert "expected genes of the panel ('FOXP3', 'CTLA4'), got none of them among 4 genes, such as 'CD3D'" in text


def test_transposed_file_is_called_so(write, spec):
    path = write(np.ones((2, 4), np.float32), genes=list("abcd"), rows=["CD3D", "LYZ"])
    assert "the file's rows are genes: transpose it" in refusal(spec(path, panel=("CD3D", "LYZ")))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lables": ("T",)}, "lables"),
        ({"low": 9}, "expected low < high, got low=9.0, high=9.0"),
        ({"high": float("nan")}, "finite"),
        ({"labels": ("T", "T")}, "expected every class in labels once, got 'T' twice"),
        ({"labels": ("T", "")}, "expected a name for every class in labels"),
        ({"panel": ("LYZ", "CD3D", "LYZ")}, "expected every gene in panel once, got 'LYZ' twice"),
        ({"panel": ()}, "at least one gene in panel"),
        (
            {"scale": "dosage", "high": 9},
            "expected low = 0, high = 2 and batch = 'none' with scale = 'dosage', got 0, 9",
        ),
        ({"scale": "log2"}, "'log', 'counts', 'codes' or 'dosage'"),
    ],
)
def test_spec_names_field_and_rule_it_breaks(spec, changes, text):
    with pytest.raises(pydantic.ValidationError, match=text):
        spec("file.h5ad", **changes)


def test_schema_holds_public_facts_of_the_spec_only(write, spec):
    asked = spec(write(), panel=("LYZ", "CD3D"), low=-1, high=8)
    schema = schema_of(read(asked), asked)
    assert schema == Schema(
        genes=("LYZ", "CD3D"), labels=("T", "B"), low=-1, high=8, unit="row", panel="a list of 2 genes"
    )


def test_align_selects_by_name_reorders_and_clips(write, spec):
    cohort = read(spec(write(), labels=("T", "B")))
    fitted = align(cohort, Schema(genes=("LYZ", "CD3D"), labels=("NK", "B", "T"), low=1, high=3))
    assert fitted.x.tolist() == np.clip(cohort.x[:, [3, 0]], 1, 3).tolist()
    assert [fitted.labels[i] for i in fitted.label] == [cohort.labels[i] for i in cohort.label] == KIND
    assert (fitted.genes, fitted.rows) == (("LYZ", "CD3D"), cohort.rows)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"genes": ("LYZ", "FOXP3")}, r"expected every gene of the study, 1 missing: 'FOXP3'"),
        ({"labels": ("T", "NK")}, r"expected classes of the study \('T', 'NK'\), got 'B'"),
        ({"unit": "donor"}, "expected the study's unit 'donor', got 'row'"),
    ],
)
def test_cohort_that_does_not_fit_the_study_is_refused(write, spec, changes, text):
    cohort = read(spec(write()))
    with pytest.raises(SpecError, match=text):
        align(cohort, Schema(**{"genes": ("LYZ",), "labels": ("T", "B"), "high": 9, **changes}))


def test_warning_filters_are_as_before(write, spec):
    before = list(warnings.filters)
    read(spec(write()))
    assert warnings.filters == before
