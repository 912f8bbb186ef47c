"""Joining to a panel: whatever way round and on whatever strand a file counts, the panel's ALT is what is counted."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.cohort.calls import open_vcf
from fedgenome.cohort.genotypes import GenotypeSpec, blocks
from fedgenome.cohort.variant_panel import read_variant_panel
from fedgenome.errors import SpecError
from tests.cohort.made_vcf import write

HEAD = "chrom\tpos\tref\talt\taf\n"
CALLS = ("0/0", "0/1", "1/1", "./1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("panels")


def panel(folder, rows):
    (folder / "panel.tsv").write_text(HEAD + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    return read_variant_panel(str(folder / "panel.tsv"))


def joined(folder, lines, rows, **asked):
    """Return dosages by the panel's names, and what was counted beside."""
    counts = Counter()
    spec = GenotypeSpec(panel=panel(folder, rows), **asked)
    found = {}
    for block in blocks(open_vcf(write(folder, lines)), spec, counts):
        found |= dict(zip([one.name for one in block.variants], block.dosage.tolist(), strict=True))
    return found, {why: n for why, n in counts.items() if n and why not in ("lines", "variants")}


@pytest.mark.parametrize(
    ("alleles", "expected", "counted"),
    [
        (("A", "G"), [0, 1, 2, -1], {}),
        (("G", "A"), [2, 1, 0, -1], {"swapped": 1}),
        (("T", "C"), [0, 1, 2, -1], {"complemented": 1}),
        (("C", "T"), [2, 1, 0, -1], {"complemented": 1, "swapped": 1}),
        (("A", "C,G"), [0, 0, 0, -1], {}),
        (("A", "C"), None, {"other alleles": 1}),
        (("C", "A,G"), None, {"other alleles": 1}),
    ],
)
def test_the_panels_alternative_allele_is_counted(folder, alleles, expected, counted):
    found, counts = joined(folder, [("chr1", 5, *alleles, *CALLS)], [("1", 5, "A", "G", 0.3)])
    assert (found, counts) == ({} if expected is None else {"1:5:A:G": expected}, counted)


@given(st.sampled_from("ACGT"), st.sampled_from("ACGT"), st.booleans(), st.booleans())
def test_turning_a_file_round_and_over_changes_no_dosage_of_an_unambiguous_variant(folder, ref, alt, swap, over):
    other = dict(zip("ACGT", "TGCA", strict=True))
    if alt in (ref, other[ref]):
        return
    calls = [call.translate(str.maketrans("01", "10")) if swap else call for call in CALLS]
    shown = [other[one] if over else one for one in ((alt, ref) if swap else (ref, alt))]
    found, _ = joined(folder, [("1", 5, *shown, *calls)], [("1", 5, ref, alt, 0.3)])
    assert found == {f"1:5:{ref}:{alt}": [0, 1, 2, -1]}


def test_ambiguous_variants_are_dropped_kept_or_refused_as_asked(folder):
    lines, rows = [("1", 5, "T", "A", *CALLS)], [("1", 5, "A", "T", 0.3)]
    assert joined(folder, lines, rows) == ({}, {"ambiguous": 1})
    assert joined(folder, lines, rows, ambiguous="keep") == ({"1:5:A:T": [2, 1, 0, -1]}, {"swapped": 1})
    with pytest.raises(SpecError, match=r"1:5: expected a variant whose strand its alleles tell, got A/T"):
        joined(folder, lines, rows, ambiguous="refuse")


def test_frequencies_of_the_panel_decide_and_tell_nothing_of_these_people(folder):
    lines = [("1", 5, "A", "G", "0/0", "0/0"), ("1", 6, "A", "G", "0/1", "0/1"), ("1", 7, "A", "G", "0/1", "0/1")]
    rows = [("1", 5, "A", "G", 0.3), ("1", 6, "A", "G", 0.999)]
    found, counts = joined(folder, lines, rows, least_frequency=0.01)
    assert (list(found), counts) == (["1:5:A:G"], {"too rare": 1, "not in the panel": 1})
    public = GenotypeSpec(panel=panel(folder, rows), least_frequency=0.01)
    without = GenotypeSpec(panel=panel(folder, [("1", 5, "A", "G", "")]), least_frequency=0.01)
    assert public.selected == "" and without.selected == "frequency of the rarer allele >= 0.01"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("chrom\tpos\tref\n", "expected columns contig, position, ref, alt, got none that says alt"),
        (HEAD, "expected a panel with variants, got none"),
        (HEAD + "1\tx\tA\tG\t.1\n", "line 2: expected a whole position and a frequency, got 'x' and '.1'"),
        (HEAD + "1\t5\tA\tG\t2\n", "line 2: expected contig, position, ref, alt and a frequency of 0 to 1"),
        (HEAD + "1\t5\tA\tG\t.1\nchr1\t5\tG\tA\t.1\n", "line 3: expected every variant once, got chr1:5:G:A"),
        (HEAD + "1\t5\tA\tG\n", "line 2: expected 5 cells, got 4"),
    ],
)
def test_panel_that_breaks_a_rule_is_refused_with_its_line(folder, text, error):
    (folder / "odd.tsv").write_text(text)
    with pytest.raises(SpecError, match=error):
        read_variant_panel(str(folder / "odd.tsv"))
