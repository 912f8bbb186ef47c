"""``fedgenome ingest``: a table of expression becomes a cohort that reads as the table itself does."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.cohort.expression import CohortSpec, read
from fedgenome.errors import SpecError
from tests.cohort.made_vcf import write


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


# ---- Genotypes

LINES = [
    ("1", 10, "A", "G", "0|1", "1|1", "0|0"),
    ("1", 20, "C", "T", "0|0", "./.", "0|1"),
    ("1", 30, "T", "A", *["0|1"] * 3),
]


def test_variants_without_window_are_ingested_as_dosages(tmp_path):
    (tmp_path / "meta.csv").write_text("sample,group,ward\ns0,x,w1\ns1,y,w2\ns2,y,w1\n")
    asked = ["--meta", tmp_path / "meta.csv", "--label", "group", "--keep", "ward"]
    done = ingest(write(tmp_path, LINES), "-o", tmp_path / "c.h5ad", *asked)
    assert done.output.startswith(f"{tmp_path / 'c.h5ad'}: 3 people × 3 variants of 3 lines; which variants there are")
    spec = {"label": "label", "labels": ("x", "y"), "donor": "donor", "site": "ward", "scale": "dosage"}
    cohort = read(CohortSpec(source=str(tmp_path / "c.h5ad"), fill=0.5, **spec))
    assert (cohort.genes, cohort.site) == (("1:10:A:G", "1:20:C:T", "1:30:T:A"), ("w1", "w2", "w1"))
    assert (cohort.x.tolist(), cohort.filled) == ([[1, 0, 1], [2, 0.5, 1], [0, 1, 1]], 1 / 9)


def test_json_tells_what_of_a_panel_was_found(tmp_path):
    (tmp_path / "panel.tsv").write_text("contig\tposition\tref\talt\n1\t10\tG\tA\n1\t30\tA\tT\n1\t40\tA\tC\n")
    done = ingest(write(tmp_path, LINES), "-o", tmp_path / "c.h5ad", "--panel", tmp_path / "panel.tsv", "--json")
    told = json.loads(done.output)
    assert (told["rows"], told["variants"], told["lines"], told["selected"]) == (3, 1, 3, "")
    assert told["counts"] == {"swapped": 1, "not in the panel": 1, "ambiguous": 1, "of the panel, absent": 2}


def test_choice_by_these_peoples_own_frequencies_is_for_public_cohorts_only(tmp_path):
    done = ingest(write(tmp_path, LINES), "-o", tmp_path / "c.h5ad", "--maf", 0.3)
    assert "chosen by these people (frequency of the rarer allele >= 0.3): for cohorts declared public" in done.output
    spec = {"source": str(tmp_path / "c.h5ad"), "label": "label", "labels": ("all",), "scale": "dosage"}
    with pytest.raises(SpecError, match=r"expected variants chosen by public facts.*take them by a panel"):
        read(CohortSpec(**spec))
    assert read(CohortSpec(**spec, public=True)).genes == ("1:10:A:G", "1:30:T:A")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (["--region", "1:1-20"], "--region: expected only with --window (a VCF without it gives genotypes)"),
        (["--window", 4, "--snv"], "--snv: expected only with genotypes (a VCF without --window, or PLINK)"),
        (["--maf", 0.7], "expected 0 <= least_frequency <= 0.5, got least_frequency=0.7"),
        (["--meta", "m.csv"], "m.csv: expected a table of text"),
        (["--haplotypes"], "1:20: sample 's9': expected phased genotypes (0|1) for haplotypes"),
    ],
)
def test_genotypes_that_cannot_be_ingested_are_one_line_and_write_nothing(tmp_path, asked, text):
    path = write(tmp_path, [("1", 20, "C", "T", *["0|1"] * 9, "0/1")])
    done = ingest(path, "-o", tmp_path / "c.h5ad", *asked)
    assert done.exit_code == 2 and text in done.output and "\n" not in done.output.strip()
    assert [one.name for one in tmp_path.iterdir()] == ["people.vcf"]
