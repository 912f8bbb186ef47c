"""Calls out of a VCF: the fast reading of plain lines and cyvcf2's are one, on every file."""

import gzip
from pathlib import Path

import numpy as np
import pysam
import pytest
from hypothesis import given, settings

from fedgenome.cohort.calls import _any_lines, open_vcf
from fedgenome.cohort.calls_text import plain_lines
from fedgenome.errors import SpecError
from tests.cohort.made_vcf import HEAD, lines, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("calls")


def told(parts):
    """Return all that calls say, as lists, however they were cut into parts."""
    parts = list(parts)
    names = ("contigs", "positions", "ids", "alleles", "told", "first", "second", "phased")
    return {name: [value for part in parts for value in list(map(as_list, getattr(part, name)))] for name in names}


def as_list(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


def both(path, keys=()):
    """Return what we read and what cyvcf2 alone reads; the phase of what was not called aside, which nobody knows."""
    file = open_vcf(path)
    ours, theirs = told(file.lines(keys)), told(_any_lines(path, file.samples, keys, 0))
    for found in (ours, theirs):
        known = np.minimum(found["first"], found["second"]) >= 0
        found["phased"] = (np.array(found["phased"]) & known).tolist()
    return ours, theirs


def plain(path, people):
    """Return how many lines are read without cyvcf2, and whether these are all."""
    parts = list(plain_lines(path, people, (), 1 << 20))
    return sum(len(part["positions"]) for part in parts if part), None not in parts


@settings(max_examples=40, deadline=None)
@given(lines())
def test_any_lines_are_read_as_cyvcf2_reads_them(folder, made):
    ours, theirs = both(write(folder, made))
    assert ours == theirs


@settings(max_examples=15, deadline=None)
@given(lines(odd=False))
def test_plain_lines_are_read_without_cyvcf2(folder, made):
    assert plain(write(folder, made), 3) == (len(made), True)


TEN = ",".join("A" + "C" * i for i in range(1, 11))
PLAIN = ("1", 5, "A", "G", "0|1", "./1")


@pytest.mark.parametrize(
    "odd",
    [
        ("1", 7, "A", "G", "0", "0|1"),
        ("1", 7, "A", "G", "0|1:9", "0|1:8"),
        ("1", 7, "A", "G", ".", "0|1"),
        ("1", 7, "A", TEN, "0", "10/10"),  # as long as plain lines are
        ("1", 7, "A", TEN, "0/10", "1|1"),
    ],
)
def test_odd_line_amid_plain_ones_loses_none(folder, odd):
    path = write(folder, [PLAIN, PLAIN, odd, PLAIN])
    ours, theirs = both(path)
    assert ours == theirs and len(ours["positions"]) == 4 and plain(path, 2) == (2, False)


@pytest.mark.parametrize("end", ["", "\r\n"])
def test_ends_of_lines_change_nothing(folder, end):
    path = write(folder, [PLAIN, PLAIN])
    text = Path(path).read_text().rstrip("\n") + end
    (folder / "ends.vcf").write_bytes(text.encode())
    assert told(open_vcf(str(folder / "ends.vcf")).lines(())) == told(open_vcf(path).lines(()))


def test_lines_longer_than_what_is_read_at_once_are_whole(folder, monkeypatch):
    path = write(folder, [("1", 10 * i + 1, "A", "G", "0|1", "1/1") for i in range(50)])
    whole = told(open_vcf(path).lines(()))
    monkeypatch.setattr("fedgenome.cohort.calls_text._CHUNK", 7)
    assert told(open_vcf(path).lines(())) == whole and plain(path, 2) == (50, True)


def test_info_is_kept_by_key_either_way(folder):
    info = "CSQ=G|HIGH|BRCA2|deleterious(0.01)|;AC=3"
    ours, theirs = both(write(folder, [PLAIN], info=info), ("CSQ",))
    assert ours["told"] == theirs["told"] == [{"CSQ": "G|HIGH|BRCA2|deleterious(0.01)|"}]


def test_compressed_file_reads_as_the_plain_one(folder):
    path = write(folder, [PLAIN] * 3)
    (folder / "packed.vcf.gz").write_bytes(gzip.compress(Path(path).read_bytes()))
    assert told(open_vcf(str(folder / "packed.vcf.gz")).lines(())) == told(open_vcf(path).lines(()))


def test_bcf_reads_as_its_vcf(folder):
    path = write(folder, [PLAIN, ("1", 7, "A", "G,T", "0/2", "1|1"), ("X", 9, "A", "C", "1", ".|0")])
    with pysam.VariantFile(path) as file, pysam.VariantFile(str(folder / "p.bcf"), "wb", header=file.header) as out:
        for line in file:
            out.write(line)
    assert told(open_vcf(str(folder / "p.bcf")).lines(())) == told(open_vcf(path).lines(()))


def test_compressed_file_that_is_cut_short_is_refused(folder):
    packed = gzip.compress(Path(write(folder, [PLAIN] * 2000)).read_bytes())
    (folder / "cut.vcf.gz").write_bytes(packed[:-40])
    with pytest.raises(SpecError, match=r"cut\.vcf\.gz: expected a VCF file that is whole"):
        list(open_vcf(str(folder / "cut.vcf.gz")).lines(()))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (("1", 5, "A", "G", "0|2"), "1:5: expected alleles 0 to 1, got 2 of person number 1"),
        (("1", 5, "A", "G", "0|12"), "1:5: expected alleles 0 to 1, got 12 of person number 1"),
        (("1", 5, "A", "G", "0|1|1"), "1:5: expected one or two alleles a sample, got 3"),
    ],
)
def test_calls_of_no_sense_are_refused_with_their_place(folder, line, text):
    with pytest.raises(SpecError, match=text):
        list(open_vcf(write(folder, [line])).lines(()))


def test_file_without_people_or_genotypes_is_refused(folder):
    head = "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO"])
    (folder / "nobody.vcf").write_text("\n".join([*HEAD, head, "1\t5\t.\tA\tG\t.\t.\t."]) + "\n")
    with pytest.raises(SpecError, match=r"nobody\.vcf: expected samples, got none"):
        open_vcf(str(folder / "nobody.vcf"))
    (folder / "depth.vcf").write_text("\n".join([*HEAD, head + "\tFORMAT\ts", "1\t5\t.\tA\tG\t.\t.\t.\tDP\t7"]) + "\n")
    with pytest.raises(SpecError, match=r"depth\.vcf: 1:5: expected genotypes \(GT\), got none"):
        list(open_vcf(str(folder / "depth.vcf")).lines(()))
