"""Tables of expression with an annotation: either way round, as CAMDA, pandas and R write them, and their faults."""

import gzip
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedgenome.cohort.camda import open_camda
from fedgenome.cohort.expression import CohortSpec, owners, read
from fedgenome.errors import SpecError

SAMPLES, GENES = ("TCGA-1", "TCGA-2", "TCGA-3"), ("ENSG1", "ENSG2")
X = np.array([[1.5, 0], [-2, 3e2], [0.25, 7]], np.float32)  # samples × genes
ANNOTATION = "samplesID,Subtype,patient\nTCGA-3,LumB,p2\nTCGA-1,LumA,p1\nTCGA-2,LumA,p1\nTCGA-9,Her2,p9\n"


def table_of(down, across, x, *, corner="gene_id"):
    """Return the text of a table; ``corner`` None: R's form, without a name for the first column."""
    head = [*([] if corner is None else [corner]), *across]
    lines = ["\t".join(head), *("\t".join([name, *map(str, row)]) for name, row in zip(down, x, strict=True))]
    return "\n".join(lines) + "\n"


CAMDA = table_of(GENES, SAMPLES, X.T)


@pytest.fixture
def write(tmp_path):
    def written(expression=CAMDA, annotation=ANNOTATION, names=("x.tsv", "labels.csv")):
        for name, text in zip(names, (expression, annotation), strict=True):
            raw = text if isinstance(text, bytes) else text.encode()
            (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return tuple(str(tmp_path / name) for name in names)

    return written


@pytest.mark.parametrize("corner", ["gene_id", "", None])
@pytest.mark.parametrize("turned", [False, True])
def test_both_orientations_read_alike_whoever_wrote_them(write, turned, corner):
    down, across, x = (SAMPLES, GENES, X) if turned else (GENES, SAMPLES, X.T)
    table = open_camda(*write(table_of(down, across, x, corner=corner)))
    assert (table.rows, table.genes) == (SAMPLES, GENES)
    assert np.array_equal(table.x, X) and table.x.dtype == np.float32
    assert table.columns == {"Subtype": ["LumA", "LumA", "LumB"], "patient": ["p1", "p1", "p2"]}


@given(st.permutations(range(3)), st.permutations(range(2)), st.booleans())
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_labels_follow_their_samples_in_any_order(write, rows, columns, turned):
    samples, genes, x = [SAMPLES[i] for i in rows], [GENES[i] for i in columns], X[np.ix_(rows, columns)]
    text = table_of(samples, genes, x) if turned else table_of(genes, samples, x.T)
    table = open_camda(*write(text))
    for name, row, subtype in zip(table.rows, table.x, table.columns["Subtype"], strict=True):
        i = SAMPLES.index(name)
        assert subtype == ("LumA", "LumA", "LumB")[i]
        assert row.tolist() == [X[i, GENES.index(gene)] for gene in table.genes]


def test_a_table_is_a_source_of_a_cohort(write):
    source, annotation = write()
    spec = {"label": "Subtype", "labels": ("LumA", "LumB"), "donor": "patient", "scale": "log", "low": -5, "high": 9}
    cohort = read(CohortSpec(source=source, annotation=annotation, **spec))
    assert np.array_equal(cohort.x, np.clip(X, -5, 9))
    assert (cohort.label.tolist(), cohort.owners, cohort.unit) == ([0, 0, 1], ("p1", "p1", "p2"), "donor")
    some = read(CohortSpec(source=source, annotation=annotation, site="patient", only=("p2",), **spec))
    assert some.rows == ("TCGA-3",)
    assert owners(source, "patient", annotation=annotation) == {"p1", "p2"}


def test_compressed_tables_and_tabs_in_the_annotation_are_read(write):
    names = ("x.tsv.gz", "labels.tsv.gz")
    table = open_camda(*write(annotation=ANNOTATION.replace(",", "\t"), names=names))
    assert np.array_equal(table.x, X) and table.columns["Subtype"] == ["LumA", "LumA", "LumB"]


def test_annotation_without_samplesid_names_samples_first(write):
    text = '"","Subtype"\n"TCGA-1","a, b"\n"TCGA-2","b"\n'
    assert open_camda(*write(annotation=text)).columns == {"Subtype": ["a, b", "b", ""]}


@pytest.mark.parametrize("cell", ["NA", "", "nan"])
def test_what_is_missing_is_nan(write, cell):
    table = open_camda(*write(CAMDA.replace("1.5", cell)))
    assert np.isnan(table.x[0, 0]) and np.isfinite(table.x).sum() == 5


TURNED = CAMDA.replace("TCGA-", "S")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"expression": CAMDA.replace("300.0", "3OO")}, "line 3, column 'TCGA-2': expected a number or NA, got '3OO'"),
        ({"expression": CAMDA + "ENSG3\t1\t2\n"}, "x.tsv: line 4: expected a name and 3 numbers, .* got 3 cells"),
        ({"expression": CAMDA + "ENSG1\t1\t2\t3\n"}, "every name of the first column once, got 'ENSG1'"),
        ({"expression": CAMDA.replace("TCGA-2", "TCGA-1")}, "every name of the first line once, got 'TCGA-1' again"),
        ({"expression": ""}, "x.tsv: expected a line of names and lines of numbers between tabs, got none"),
        ({"expression": TURNED}, "in neither: 'TCGA-1' is like neither 'S1' nor 'ENSG1'"),
        ({"expression": CAMDA.replace("ENSG1", "TCGA-9")}, "in the first line or in the first column, .* in both"),
        ({"expression": b"\xff\xfe\n"}, "x.tsv: expected a table of text in UTF-8"),
        ({"annotation": ANNOTATION + "TCGA-1,LumA,p1\n"}, "'samplesID': expected every sample once, got 'TCGA-1'"),
        ({"annotation": ANNOTATION + "TCGA-4,LumA\n"}, "labels.csv: line 6: expected 3 cells, got 2"),
        ({"annotation": ANNOTATION.replace("patient", "Subtype")}, "expected every column once, got 'Subtype' again"),
        ({"annotation": "samplesID\nTCGA-1\n"}, "labels.csv: expected a line of column names"),
    ],
)  # fmt: skip
def test_fault_is_named_by_file_line_and_column(write, changes, text):
    with pytest.raises(SpecError, match=text):
        open_camda(*write(**changes))


def test_files_that_are_not_there_are_named(write, tmp_path):
    source, annotation = write()
    with pytest.raises(SpecError, match=r"x\.tsv: expected annotation, the table that says its samples' labels"):
        open_camda(source, None)
    with pytest.raises(SpecError, match=re.escape(str(tmp_path / "no.csv")) + ": .* got No such file"):
        open_camda(source, str(tmp_path / "no.csv"))
    with pytest.raises(SpecError, match=r"expected annotation only with a \.tsv"):
        read(CohortSpec(source="x.h5ad", annotation=annotation, label="a", labels=("b",), scale="log", high=9))
