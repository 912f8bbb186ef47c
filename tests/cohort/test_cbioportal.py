"""cBioPortal's files: expression beside two clinical files, as METABRIC's, and their faults."""

import gzip

import numpy as np
import pytest

from fedgenome.cohort.cbioportal import open_cbioportal
from fedgenome.cohort.expression import CohortSpec, read
from fedgenome.errors import SpecError

EXPRESSION = (
    "Hugo_Symbol\tEntrez_Gene_Id\tMB-1\tMB-2\tMB-3\n"
    "ESR1\t2099\t9.5\t6\tNA\n\t84\t5\t5.5\t6\nGATA3\t2625\t1\t2\t3\nESR1\t2099\t0\t0\t0\n"
)
SAMPLES = "#Patient\tSample\tER\n#STRING\tSTRING\tSTRING\nPATIENT_ID\tSAMPLE_ID\tER_STATUS\n"
SAMPLES += "P1\tMB-1\tPositive\nP2\tMB-3\tNegative\nP1\tMB-2\tPositive\nP9\tMB-9\t\n"
PATIENTS = "#Patient\tClass\nPATIENT_ID\tCLAUDIN_SUBTYPE\tER_STATUS\nP1\tLumA\tother\nP2\tBasal\n"


@pytest.fixture
def write(tmp_path):
    def written(expression=EXPRESSION, samples=SAMPLES, patients=PATIENTS, name="data_mrna_illumina_microarray.txt"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(expression.encode()) if name.endswith(".gz") else expression.encode())
        (tmp_path / "data_clinical_sample.txt").write_text(samples)
        if patients is not None:
            (tmp_path / "data_clinical_patient.txt").write_text(patients)
        return str(path)

    return written


@pytest.mark.parametrize("name", ["data_mrna_illumina_microarray.txt", "data_mrna_seq.txt.gz"])
def test_samples_are_rows_and_have_their_patients_columns(write, name):
    table = open_cbioportal(write(name=name))
    assert (table.rows, table.genes) == (("MB-1", "MB-2", "MB-3"), ("ESR1", "84", "GATA3"))
    np.testing.assert_array_equal(table.x, np.array([[9.5, 5, 1], [6, 5.5, 2], [np.nan, 6, 3]], np.float32))
    assert table.columns["CLAUDIN_SUBTYPE"] == ["LumA", "LumA", "Basal"]
    assert table.columns["PATIENT_ID"] == ["P1", "P1", "P2"]
    assert table.columns["ER_STATUS"] == ["Positive", "Positive", "Negative"]  # the sample's own


def test_a_cohort_is_read_by_the_same_rules_as_any(write):
    spec = CohortSpec(
        source=write(),
        label="CLAUDIN_SUBTYPE",
        labels=("LumA", "Basal"),
        donor="PATIENT_ID",
        scale="log",
        high=10,
        fill=0,
    )
    cohort = read(spec)
    assert cohort.donor == ("P1", "P1", "P2")
    assert cohort.label.tolist() == [0, 0, 1]
    assert cohort.x[2, 0] == 0


def test_patients_may_lack(write):
    assert "CLAUDIN_SUBTYPE" not in open_cbioportal(write(patients=None)).columns


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (
            {"expression": "a\tb\n1\t2\n"},
            r"first line of Hugo_Symbol or Entrez_Gene_Id, then samples; got \['a', 'b'\]",
        ),
        ({"expression": EXPRESSION.replace("MB-2", "MB-1")}, "every sample once, got 'MB-1' again"),
        ({"expression": EXPRESSION + "X\t1\t2\n"}, "line 6: expected 5 cells, as the first has; got 3"),
        ({"expression": EXPRESSION + "\t\t1\t2\t3\n"}, "line 6: expected a name of a gene, got none"),
        (
            {"expression": EXPRESSION.replace("5.5", "high")},
            "line 3, column 'MB-2': expected a number or NA, got 'high'",
        ),
        ({"samples": SAMPLES.replace("MB-3", "MB-4")}, r"for every sample, got none for 'MB-3' \(and 0 more\)"),
        ({"samples": SAMPLES.replace("SAMPLE_ID", "ID")}, "expected a column SAMPLE_ID, got PATIENT_ID, ID"),
        ({"samples": SAMPLES + "P1\tMB-1\tPositive\n"}, "every SAMPLE_ID once, got 'MB-1' again"),
        ({"patients": PATIENTS + "P3\ta\tb\tc\n"}, "'P3': expected at most 3 cells, got 4"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(write, changes, rule):
    with pytest.raises(SpecError, match=rule):
        open_cbioportal(write(**changes))
