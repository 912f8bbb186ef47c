"""Dosages: what a naive reading of the text gives, the odd cases by hand, every filter and every refusal."""

import os
import re
from collections import Counter
from pathlib import Path

import anndata
import numpy as np
import pytest
from hypothesis import given, settings

from fedgenome.cohort.calls import open_vcf
from fedgenome.cohort.genotype_file import Person, write_genotypes
from fedgenome.cohort.genotypes import GenotypeSpec, blocks
from fedgenome.cohort.intervals import read_bed
from fedgenome.errors import SpecError
from tests.cohort.made_vcf import lines, naive, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("genotypes")


def read(path, **asked):
    """Return the dosages by name, and what was counted."""
    counts = Counter()
    found = {}
    for block in blocks(open_vcf(path), GenotypeSpec(**asked), counts):
        found |= dict(zip([one.name for one in block.variants], block.dosage.tolist(), strict=True))
    return found, {why: n for why, n in counts.items() if n and why != "lines"}


@settings(max_examples=40, deadline=None)
@given(lines())
def test_dosages_are_those_of_a_naive_reading(folder, made):
    path = write(folder, made)
    assert read(path, haploid="single")[0] == naive(path)


def test_edge_cases_are_counted_as_by_hand(repository):
    path = Path(os.environ.get("FEDGENOME_DATA", repository / "../shared/data")) / "genotypes/edge_cases.vcf"
    if not path.exists():
        pytest.skip(f"{path.name} is not in {path.parent}; set FEDGENOME_DATA to the folder that holds genotypes/")
    found, counts = read(str(path), haploid="single")
    assert found == {
        "1:10:A:G": [0, 1, 1, 2, -1, -1, -1],
        "1:20:A:G": [0, 1, 1, 0, 0, -1, -1],
        "1:20:A:T": [0, 0, 1, 2, 1, -1, -1],
        "X:30:C:T": [0, 1, 1, 2, -1, 0, 0],
    }
    assert counts == {"variants": 4, "deleted (*)": 1}


HAPLOID = [("X", 5, "A", "G", "1", "0|1", "."), ("X", 9, "C", "T", "0", "1|1", "1")]


@pytest.mark.parametrize(
    ("how", "expected"), [("single", [[1, 1, -1], [0, 2, 1]]), ("double", [[2, 1, -1], [0, 2, 2]])]
)
def test_haploid_people_count_as_asked(folder, how, expected):
    assert list(read(write(folder, HAPLOID), haploid=how)[0].values()) == expected


FEW = [
    ("1", 10, "A", "G", "0/1", "0/0", "0/0", "0/0"),
    ("1", 20, "A", "G,T", "1/1", "0/2", "./.", "./."),
    ("1", 30, "AC", "A", "0/1", "1/1", "0/1", "0/0"),
    ("X", 40, "C", "T", "1/1", "1/1", "1/1", "0/1"),
]


@pytest.mark.parametrize(
    ("asked", "names", "counted"),
    [
        ({"snv": True}, ["1:10:A:G", "X:40:C:T"], {"other than SNV": 2}),
        ({"least_frequency": 0.2}, ["1:20:A:G", "1:20:A:T", "1:30:AC:A"], {"too rare": 2}),
        ({"most_missing": 0.4}, ["1:10:A:G", "1:30:AC:A", "X:40:C:T"], {"too often missing": 2}),
    ],
)
def test_filter_keeps_what_it_says_and_counts_the_rest(folder, asked, names, counted):
    found, counts = read(write(folder, FEW), **asked)
    assert list(found) == names and counts == counted | {"variants": len(names)}


def test_bed_counts_from_zero_without_its_end_whatever_the_contig_is_called(folder):
    (folder / "r.bed").write_text("# regions\nchr1 9 20\nchr1 15 30 name\nY 1 9\n")
    found, counts = read(write(folder, FEW), regions=read_bed(str(folder / "r.bed")))
    assert list(found) == ["1:10:A:G", "1:20:A:G", "1:20:A:T", "1:30:AC:A"] and counts["outside"] == 1
    (folder / "r.bed").write_text("1\t10\t29\n")
    assert list(read(write(folder, FEW), regions=read_bed(str(folder / "r.bed")))[0]) == ["1:20:A:G", "1:20:A:T"]


@pytest.mark.parametrize(("text", "error"), [("1\t9\t9\n", "line 1: expected contig"), ("", "at least one line")])
def test_bed_that_names_nothing_is_refused(folder, text, error):
    (folder / "odd.bed").write_text(text)
    with pytest.raises(SpecError, match=f"odd.bed: .*{error}"):
        read_bed(str(folder / "odd.bed"))


@pytest.mark.parametrize(
    ("lines", "asked", "text"),
    [
        (HAPLOID, {}, "X:5: sample 's0': expected two alleles (--haploid single or double counts one once or twice)"),
        ([("1", 5, "A", "G", "0|1", "0/1")], {"haplotypes": True}, "1:5: sample 's1': expected phased genotypes (0|1)"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_its_place(folder, lines, asked, text):
    with pytest.raises(SpecError, match=re.escape(text)):
        read(write(folder, lines), **asked)


def test_haploid_people_outside_what_is_taken_do_no_harm(folder):
    (folder / "one.bed").write_text("1\t0\t99\n")
    made = [("1", 5, "A", "G", "0|1"), ("X", 5, "A", "G", "1")]
    assert read(write(folder, made), regions=read_bed(str(folder / "one.bed")))[0] == {"1:5:A:G": [1]}


# ---- The file


def written(folder, path, **asked):
    """Return the cohort that a VCF gives."""
    file, spec = open_vcf(path), GenotypeSpec(**asked)
    who = [Person(sample=name, donor=name, label="all", kept=("ward",)) for name in file.samples]
    out = folder / "cohort.h5ad"
    write_genotypes(out, blocks(file, spec, Counter()), who, kept=("site",), selected=spec.selected)
    return anndata.read_h5ad(out)


@settings(max_examples=8, deadline=None)
@given(lines())
def test_file_holds_what_was_read(folder, made):
    path = write(folder, made)
    expected = naive(path)
    if not expected:
        with pytest.raises(SpecError, match="expected variants that pass every filter, got none"):
            written(folder, path, haploid="single")
        return
    data = written(folder, path, haploid="single")
    assert dict(zip(data.var_names, data.X.T.tolist(), strict=True)) == expected and data.X.dtype == np.int8


def test_columns_beyond_one_chunk_are_in_order(folder):
    calls = np.random.default_rng(0).integers(0, 3, (5000, 2))
    texts = ("0|0", "0|1", "1|1")
    made = [("1", i + 1, "A", "G", *(texts[call] for call in pair)) for i, pair in enumerate(calls)]
    data = written(folder, write(folder, made), haplotypes=True)
    assert np.array_equal(data.X, calls.T) and data.var["position"].tolist() == list(range(1, 5001))
    assert np.array_equal(data.layers["hap0"] + data.layers["hap1"], data.X)
    assert data.obs["site"].tolist() == ["ward"] * 2


def test_facts_of_variants_stand_beside_them(folder):
    told = "CSQ=G|MODERATE|BRCA2|deleterious(0.01)|benign(0.2),G|HIGH|TP53||"
    var = written(folder, write(folder, [("1", 5, "a", "G", "0|1")], info=told)).var
    assert var.loc["1:5:A:G", ["contig", "position", "id", "ref", "alt"]].tolist() == ["1", 5, "rs5", "A", "G"]
    assert var.loc["1:5:A:G", ["impact", "gene"]].tolist() == ["HIGH", "TP53"]
    assert var[["sift", "polyphen"]].to_numpy().tolist() == [[np.float32(0.01), np.float32(0.2)]]


def test_variant_that_comes_twice_is_refused_and_nothing_is_left(folder):
    path = write(folder, [("1", 5, "A", "G", "0|1"), ("1", 5, "A", "G", "0|0")], name="twice.vcf")
    before = sorted(folder.iterdir())
    with pytest.raises(SpecError, match="expected every variant once, got 1:5:A:G again"):
        written(folder, path)
    assert sorted(folder.iterdir()) == before
