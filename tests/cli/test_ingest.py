"""``fedgenome ingest``: a table of expression becomes a cohort that reads as the table itself does."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.cohort.expression import CohortSpec, read


@pytest.fixture
def files(tmp_path):
    """Return a genes × samples table and its annotation."""
    (tmp_path / "x.tsv").write_text("\ts1\ts2\ts3\nG1\t1.1\t2\tNA\nG2\t4\t5\t6.7\n")
    (tmp_path / "labels.csv").write_text("samplesID,Subtype\ns1,LumA\ns2,LumB\ns3,LumA\n")
    return str(tmp_path / "x.tsv"), str(tmp_path / "labels.csv")


def ingest(*arguments):
    return CliRunner().invoke(app, ["ingest", *map(str, arguments)])


def test_ingested_cohort_reads_as_its_table(files, tmp_path):
    table, annotation = files
    out = tmp_path / "cohort.h5ad"
    done = ingest(table, "-o", out, "--annotation", annotation)
    assert (done.exit_code, done.output.strip()) == (0, f"{out}: 3 rows × 2 genes; obs columns: Subtype")
    spec = {"label": "Subtype", "labels": ("LumA", "LumB"), "scale": "log", "high": 5.5, "fill": 2.0}
    ours = read(CohortSpec(source=str(out), **spec))
    direct = read(CohortSpec(source=table, annotation=annotation, **spec))
    assert np.array_equal(ours.x, direct.x) and ours.filled == direct.filled == 1 / 6
    assert (ours.rows, ours.genes, ours.label.tolist()) == (("s1", "s2", "s3"), ("G1", "G2"), [0, 1, 0])


def test_json_tells_what_was_written(files, tmp_path):
    told = json.loads(ingest(files[0], "-o", tmp_path / "c.h5ad", "--annotation", files[1], "--json").output)
    assert told == {"file": str(tmp_path / "c.h5ad"), "rows": 3, "genes": 2, "columns": ["Subtype"]}


@pytest.mark.parametrize(
    ("source", "out", "text"),
    [
        ("x.xlsx", "c.h5ad", "expected a .tsv, .fa, .fasta, .fna or .vcf file"),
        ("x.tsv", "c.csv", "--out: expected a name that ends in .h5ad, got 'c.csv'"),
        ("x.tsv", "c.h5ad", "expected annotation, the table that says its samples' labels"),
    ],
)
def test_what_cannot_be_ingested_is_one_line_and_writes_nothing(files, tmp_path, source, out, text):
    done = ingest(tmp_path / source, "-o", tmp_path / out)
    assert done.exit_code == 2 and text in done.output and "\n" not in done.output.strip()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["labels.csv", "x.tsv"]
