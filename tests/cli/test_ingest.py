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


# ---- Sequences

PEOPLE = ">a\nACGTACGT\n>b\nACGTNNNN\n>c\nNNNNNNNN\n"


@pytest.fixture
def people(tmp_path):
    """Return a FASTA file of three people, the table of them, and where the cohort goes."""
    (tmp_path / "people.fa").write_text(PEOPLE)
    (tmp_path / "meta.csv").write_text("sample,group,ward\na,x,w1\nb,y,w2\nc,y,w1\n")
    return tmp_path / "people.fa", tmp_path / "meta.csv", tmp_path / "cohort.h5ad"


def test_sequences_are_ingested_as_a_cohort_of_codes(people):
    fasta, meta, out = people
    done = ingest(
        fasta, "-o", out, "--window", 4, "--meta", meta, "--donor", "sample", "--label", "group", "--keep", "ward"
    )
    assert done.output.strip() == (
        f"{out}: 3 rows × 4 tokens of 2 donors; "
        "left out: 3 windows with too many unknown tokens, 1 donors without any other"
    )
    cohort = read(
        CohortSpec(source=str(out), label="label", labels=("x", "y"), donor="donor", scale="codes", site="ward")
    )
    assert (cohort.owners, cohort.site) == (("a", "a", "b"), ("w1", "w1", "w2"))
    assert cohort.x.tolist() == [[0, 1, 2, 3]] * 3


def test_variants_are_ingested_over_their_reference(people, tmp_path):
    head = '##fileformat=VCFv4.2\n##contig=<ID=a,length=8>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
    line = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\na\t2\t.\tC\tT\t.\t.\t.\tGT\t0|1\n"
    (tmp_path / "people.vcf").write_text(head + line)
    asked = ["--window", 2, "--reference", people[0], "--region", "a:1-4", "--json"]
    done = ingest(tmp_path / "people.vcf", "-o", people[2], *asked)
    told = {"file": str(people[2]), "tokens": 4, "window": 2, "rows": 4, "donors": 1, "left_out": 0, "without": 0}
    assert json.loads(done.output) == told
    cohort = read(CohortSpec(source=str(people[2]), label="label", labels=("all",), donor="donor", scale="codes"))
    assert (set(cohort.owners), cohort.x.tolist()) == ({"s1"}, [[0, 1], [2, 3], [0, 3], [2, 3]])


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (["--label", "group"], "expected --window: the number of tokens a row"),
        (["--window", 4, "--reference", "r.fa"], "--reference: expected only with a VCF and --window, got people.fa"),
        (["--window", 4, "--label", "group"], "expected a table of samples (--meta) that has the column 'group'"),
        (["--window", 4, "--region", "a:1-4"], "region a:1-4: expected START-END, as it is taken of every record"),
        (["--window", 99], "expected a sequence of 99 tokens or more with few unknown ones, got no window at all"),
    ],
)
def test_sequences_that_cannot_be_ingested_are_one_line_and_write_nothing(people, asked, text):
    done = ingest(people[0], "-o", people[2], *asked)
    assert done.exit_code == 2 and text in done.output and "\n" not in done.output.strip()
    assert not people[2].exists()
