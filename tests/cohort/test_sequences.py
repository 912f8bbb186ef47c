"""FASTA files of people, plain and gzipped, and what a table says of their samples."""

import gzip
import re

import pytest

from fedgenome.cohort.samples import Samples, read_samples
from fedgenome.cohort.sequences import fasta_records
from fedgenome.cohort.windows import Region
from fedgenome.errors import SpecError

PLAIN = ">a one\nACGT\nacgt\n>b\nNNNNACGT\n"
META = "sample,person,group,ward\na,p1,x,w1\nb,p1,y,w2\nc,p2,x,w1\n"


@pytest.fixture
def fasta(tmp_path):
    """Return a function that writes a FASTA file and returns its path."""

    def write(text=PLAIN, name="people.fa"):
        data = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return str(tmp_path / name)

    return write


@pytest.fixture
def meta(tmp_path):
    """Return a function that writes a table of samples and reads it."""

    def read(text=META, **columns):
        (tmp_path / "meta.csv").write_text(text)
        return read_samples(str(tmp_path / "meta.csv"), **columns)

    return read


@pytest.mark.parametrize("name", ["people.fa", "people.fasta.gz"])
def test_records_come_in_order_with_their_letters(fasta, name):
    found = [
        (one.name, one.donor, one.text, one.start, one.label) for one in fasta_records(fasta(name=name), Samples())
    ]
    assert found == [("a", "a", "ACGTacgt", 0, "all"), ("b", "b", "NNNNACGT", 0, "all")]


def test_regions_are_positions_from_one_with_both_ends(fasta):
    found = list(fasta_records(fasta(), Samples(), [Region(1, 2), Region(5, 8)]))
    assert [(one.name, one.text, one.start) for one in found] == [
        *[("a", "AC", 0), ("a", "acgt", 4)],
        *[("b", "NN", 0), ("b", "ACGT", 4)],
    ]


def test_table_says_donor_label_and_what_to_keep(fasta, meta):
    who = meta(donor="person", label="group", keep=("ward",))
    found = [(one.name, one.donor, one.label, one.kept) for one in fasta_records(fasta(), who)]
    assert found == [("a", "p1", "x", ("w1",)), ("b", "p1", "y", ("w2",))]


def test_join_names_the_column_of_samples(meta):
    who = meta("person,name,group\np1,a,x\np2,b,y\n", join="name", donor="person", label="group")
    assert who.of("b", "") == ("p2", "y", ())


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"label": "grup"}, "meta.csv: expected a column 'grup', got none of that name (did you mean 'group'?)"),
        ({"join": "sampl"}, "meta.csv: expected a column 'sampl' of samples, got none of that name"),
        ({"text": "s,g\na,x\na,y\n"}, "meta.csv: column 's': expected every sample once, got 'a' again"),
        ({"text": "s,g\na\n"}, "meta.csv: line 2: expected 2 cells, got 1"),
    ],
)
def test_table_that_does_not_fit_is_refused(meta, columns, text):
    with pytest.raises(SpecError, match=re.escape(text)):
        meta(**columns)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ACGT\n>a\nACGT\n", "people.fa: expected a FASTA file, which begins with '>', got 'A'"),
        ("", "people.fa: expected a FASTA file, which begins with '>', got ''"),
        (">a\n>b\nAC\n", "people.fa: record number 1: expected '>', a name, and lines of letters, got no letters"),
        (">a\nAC\n>\nAC\n", "people.fa: record number 2: expected '>', a name, and lines of letters, got no name"),
        (
            ">a\nAC\n+\nII\n",
            "people.fa: record number 1: expected '>', a name, and lines of letters, got one with qual",
        ),
        (">a\nAC\n>b\nAC\n>a\nAC\n", "record 'a' (number 3): expected every record once, number 1 has that name too"),
        (">a\nAC\n>b\nACG\n", "record 'b' (number 2): expected 2 letters, as the first record of the alignment, got 3"),
    ],
)
def test_file_that_is_no_fasta_of_people_is_refused_with_the_record(fasta, text, said):
    with pytest.raises(SpecError, match=re.escape(said)):
        list(fasta_records(fasta(text), Samples(), aligned=True))


def test_sample_without_a_line_or_a_donor_is_refused(fasta, meta):
    with pytest.raises(
        SpecError, match=r"record 'b' \(number 2\): expected a line for sample 'b' in .*meta\.csv, got none"
    ):
        list(fasta_records(fasta(), meta("s,g\na,x\n")))
    with pytest.raises(SpecError, match=r"expected a donor for sample 'a' in .*meta\.csv, got none"):
        list(fasta_records(fasta(), meta("s,p\na,\nb,p\n", donor="p")))


def test_region_beyond_a_record_is_refused(fasta):
    with pytest.raises(
        SpecError, match=r"record 'a' \(number 1\): expected letters up to position 9 \(region 5-9\), got 8"
    ):
        list(fasta_records(fasta(), Samples(), [Region(5, 9)]))


def test_columns_without_a_table_are_refused():
    with pytest.raises(
        SpecError, match=r"expected a table of samples \(--meta\) that has the column 'group', got none"
    ):
        read_samples(None, label="group")


@pytest.mark.parametrize("end", [-9, -200])
def test_gzip_that_is_cut_short_is_refused(fasta, tmp_path, end):
    path = fasta("".join(f">s{i}\n{'ACGTTGCA' * (i % 50 + 9)}\n" for i in range(200)), "people.fa.gz")
    (tmp_path / "people.fa.gz").write_bytes((tmp_path / "people.fa.gz").read_bytes()[:end])
    with pytest.raises(SpecError, match=r"people\.fa\.gz: expected a FASTA file that is whole, got a damaged one"):
        list(fasta_records(path, Samples()))


def test_folder_in_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "x.fa").mkdir()
    with pytest.raises(SpecError, match=r"x\.fa: expected a FASTA file, got a folder"):
        list(fasta_records(str(tmp_path / "x.fa"), Samples()))
