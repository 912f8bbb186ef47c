"""People's sequences out of a VCF: what a naive reading gives, every indel and genotype, and every refusal."""

import re

import pysam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.coalescent import CONTIG, write_genomes
from fedgenome.cohort.haplotypes import haplotype_records
from fedgenome.cohort.samples import Samples
from fedgenome.cohort.windows import Region
from fedgenome.errors import SpecError

REFERENCE = "ACGTTGCAAACCGGTTACGT"  # of the small files by hand; positions 1 to 20
WHOLE = Region(1, 20, "c")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("vcf")


def write(folder, lines, samples=("s1", "s2"), reference=REFERENCE, name="people.vcf"):
    """Write a VCF of lines (POS, REF, ALT, genotypes …) and its reference; return both paths."""
    head = ["##fileformat=VCFv4.2", f"##contig=<ID=c,length={len(reference)}>"]
    head.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="genotype">')
    head.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]))
    body = [f"c\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\tGT\t" + "\t".join(calls) for pos, ref, alt, *calls in lines]
    (folder / name).write_text("\n".join([*head, *body]) + "\n")
    (folder / "ref.fa").write_text(f">other\nAAAA\n>c\n{reference.lower()}\n")
    return str(folder / name), str(folder / "ref.fa")


def read(paths, region=WHOLE, **options):
    return {
        record.name.split(":")[0]: record.text for record in haplotype_records(*paths, region, Samples(), **options)
    }


# ---- Against a naive reading


def naive(reference, variants, h):
    """Return a haplotype with every letter of the reference as a string of its own; an indel changes the first."""
    letters = list(reference)
    for pos, ref, alts, calls in variants:
        call = calls[h]
        if call == ".":
            letters[pos - 1 : pos - 1 + len(ref)] = "N" * len(ref)
        elif call > 0:
            letters[pos - 1 : pos - 1 + len(ref)] = [alts[call - 1], *[""] * (len(ref) - 1)]
    return "".join(letters)


@st.composite
def made_vcf(draw):
    """Return a reference and variants that do not overlap: (POS, REF, ALTs, calls of four haplotypes)."""
    text = st.text(alphabet="ACGT", min_size=1, max_size=4)
    reference = draw(st.text(alphabet="ACGT", min_size=10, max_size=40))
    variants, at = [], 1
    while (at := at + draw(st.integers(0, 6))) <= len(reference):
        ref = reference[at - 1 : at - 1 + draw(st.integers(1, 4))]
        alts = draw(st.lists(text.filter(lambda alt, ref=ref: alt != ref), min_size=1, max_size=3, unique=True))
        call = st.one_of(st.integers(0, len(alts)), st.just("."))
        variants.append((at, ref, alts, draw(st.lists(call, min_size=4, max_size=4))))
        at += len(ref)
    return reference, variants


@settings(max_examples=60, deadline=None)
@given(made_vcf())
def test_haplotypes_are_those_of_a_naive_reading(folder, made):
    reference, variants = made
    lines = [(pos, ref, ",".join(alts), f"{a}|{b}", f"{c}|{d}") for pos, ref, alts, (a, b, c, d) in variants]
    paths = write(folder, lines or [(1, reference[0], "N", "0|0", "0|0")], reference=reference)
    expected = {name: naive(reference, variants, h) for h, name in enumerate(("s1.1", "s1.2", "s2.1", "s2.2"))}
    assert read(paths, Region(1, len(reference), "c")) == expected


# ---- By hand (reference ACGTTGCAAACCGGTTACGT)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([(3, "G", "A", "1|0")], "ACATTGCAAACCGGTTACGT"),
        ([(3, "GTT", "G", "1|0")], "ACGGCAAACCGGTTACGT"),
        ([(3, "G", "GCC", "1|0")], "ACGCCTTGCAAACCGGTTACGT"),
        ([(3, "G", "A", "1|0"), (3, "GTT", "G", "1|0")], "ACAGCAAACCGGTTACGT"),  # an indel and a SNV of its anchor
        ([(3, "GTT", "G", "1|0"), (4, "T", "A,*", "2|0")], "ACGGCAAACCGGTTACGT"),  # a star within a deletion
        ([(3, "GTT", "G", "1|0"), (4, "T", "A", "0|1")], "ACGGCAAACCGGTTACGT"),
        ([(4, "TT", "TA,<DEL>", "1|0")], "ACGTAGCAAACCGGTTACGT"),  # nobody has the allele without letters
        ([(20, "T", "TAA", "1|0")], "ACGTTGCAAACCGGTTACGTAA"),
        ([(4, "TT", "T", ".|0")], "ACGNNGCAAACCGGTTACGT"),
        ([(3, "G", "A", "1/1")], "ACATTGCAAACCGGTTACGT"),  # alike on both: phase says nothing
    ],
)
def test_first_haplotype_is(folder, lines, text):
    assert read(write(folder, lines, samples=("s1",)))["s1.1"] == text


def test_haploid_people_have_one_sequence(folder):
    paths = write(folder, [(3, "G", "A", "1", "0|1"), (5, "T", "C", "0", "1|0")])
    found = read(paths)
    assert list(found) == ["s1.1", "s2.1", "s2.2"] and found["s1.1"] == "ACATTGCAAACCGGTTACGT"


def test_only_the_region_is_taken_with_an_index_and_without(folder):
    paths = write(folder, [(3, "G", "A", "1|0", "0|0"), (11, "C", "T", "1|0", "0|1"), (18, "C", "CG", "0|0", "1|1")])
    packed = pysam.tabix_index(paths[0], preset="vcf", force=True, keep_original=True)
    plain, indexed = read(paths, Region(10, 14, "c")), read((packed, paths[1]), Region(10, 14, "c"))
    assert plain == indexed == {"s1.1": "ATCGG", "s1.2": "ACCGG", "s2.1": "ACCGG", "s2.2": "ATCGG"}


def test_heterozygotes_without_phase_give_one_sequence_of_either_allele_where_asked(folder):
    names = [f"s{i}" for i in range(200)]
    found = read(write(folder, [(3, "G", "A", *["0/1"] * 200)], samples=names), unphased="one")
    alternative = sum(text[2] == "A" for text in found.values())
    assert len(found) == 200 and {text[2] for text in found.values()} == {"A", "G"}
    assert 60 <= alternative <= 140  # binomial(200, 1/2): beyond at most once in 10^8


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([(3, "G", "A", "0/1")], "c:3: sample 's1': expected phased genotypes"),
        ([(3, "C", "A", "0|1")], "c:3: expected REF 'G', as the reference has it, got 'C'"),
        ([(3, "GT", "G", "1|0"), (4, "T", "A", "1|0")], "haplotype 1, position 4: expected variants of one haplotype"),
        (
            [(3, "G", "GA", "1|0"), (3, "G", "GC", "1|0")],
            "position 4: expected variants of one haplotype that do not over",
        ),
        (
            [(3, "G", "<DEL>", "1|0")],
            "haplotype 1, position 3: expected an allele of letters A, C, G, T, N, got '<DEL>'",
        ),
        ([(3, "G", "*", "0|1")], "haplotype 2, position 3: expected a deletion across the allele '*', got none"),
        ([(3, "G", "A", "0|1"), (5, "T", "A", "1")], "haplotype 2: expected one allele throughout the region or two"),
        ([(20, "TA", "T", "1|0")], "c:20: expected variants within region c:1-20, got one across its border"),
        ([(3, "G", "A", "1/1/0")], "c:3: expected one or two alleles a sample, got 3"),
    ],
)
def test_what_has_no_one_sequence_is_refused_with_its_place(folder, lines, text):
    with pytest.raises(SpecError, match=re.escape(text)):
        read(write(folder, lines, samples=("s1",)))


@pytest.mark.parametrize(
    ("region", "text"),
    [
        (Region(1, 21, "c"), "ref.fa: expected c up to position 21, got 20 letters"),
        (Region(1, 9, "d"), "ref.fa: expected the contig 'd' of region d:1-9"),
        (Region(1, 4, "other"), "people.vcf: expected contig 'other' of region other:1-4, got c"),
        (Region(10, 12, "c"), "people.vcf: expected variants within region c:10-12, got none"),
    ],
)
def test_region_must_be_in_both_files(folder, region, text):
    with pytest.raises(SpecError, match=re.escape(text)):
        read(write(folder, [(3, "G", "A", "0|1", "0|0")]), region)


def test_sample_that_comes_twice_is_refused(folder):
    with pytest.raises(SpecError, match=r"people\.vcf: expected"):
        read(write(folder, [(3, "G", "A", "0|1", "0|0")], samples=("s1", "s1")))


def test_file_that_is_cut_short_is_refused(folder):
    paths = write(folder, [(3, "G", "A", "0|1", "0|0")])
    pysam.tabix_compress(paths[0], str(folder / "cut.vcf.gz"), force=True)
    whole = (folder / "cut.vcf.gz").read_bytes()
    (folder / "cut.vcf.gz").write_bytes(whole[:-28])
    with pytest.raises(SpecError, match=r"cut\.vcf\.gz: expected a VCF file that is whole, got one cut short"):
        read((str(folder / "cut.vcf.gz"), paths[1]))


@pytest.mark.parametrize(("name", "text"), [("no.vcf", "nothing is there"), ("ref.fa", "is not valid bcf or vcf")])
def test_what_is_no_vcf_is_one_clear_line(folder, name, text):
    _, reference = write(folder, [(3, "G", "A", "0|1", "0|0")])
    with pytest.raises(SpecError, match=text):
        read((str(folder / name), reference))


# ---- Against the coalescent's own haplotypes


def test_coalescent_genomes_come_back_as_they_were_simulated(tmp_path):
    made = write_genomes(tmp_path, people=10, length_bp=20_000, seed=7, mutation=1e-6)
    found = haplotype_records(str(made.variants), str(made.reference), Region(1, 20_000, CONTIG), Samples())
    texts = [record.text for record in found]
    assert texts == list(made.haplotypes) and len(set(texts)) == 20


def test_same_seed_gives_the_same_genomes_and_another_gives_others(tmp_path):
    def files(seed):
        made = write_genomes(tmp_path, people=2, length_bp=5_000, seed=seed)
        return made.reference.read_bytes(), made.variants.read_bytes()

    first = files(3)
    assert first == files(3) and first != files(4)
