"""Windows of a sequence: where they start, what is left out, both strands, and letters that are none."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.cohort.tokens import Tokens
from fedgenome.cohort.windows import Record, Region, WindowSpec, check_apart, cut
from fedgenome.errors import SpecError


def record(text, **more):
    return Record(name="r", donor="d", text=text, source="x.fa", **more)


def naive(text, spec, start):
    """Return the windows letter by letter: (start, letters), gaps out first."""
    kept = [(start + i, letter.upper()) for i, letter in enumerate(text) if spec.gaps == "unknown" or letter != "-"]
    k, rows = spec.tokens.k, []
    for at in range(0, len(kept) - spec.length * k + 1, spec.step * k):
        letters = "".join(letter for _, letter in kept[at : at + spec.length * k])
        tokens = [letters[i : i + k] for i in range(0, len(letters), k)]
        tokens = [one if set(one) <= set("ACGT") else "N" * k for one in tokens]
        if sum("N" in one for one in tokens) <= spec.most_unknown * spec.length:
            rows.append((kept[at][0], "".join(tokens)))
    return rows


specs = st.builds(
    WindowSpec,
    **{
        "length": st.integers(1, 5),
        "stride": st.none() | st.integers(1, 6),
        "gaps": st.sampled_from(["drop", "unknown"]),
    },
    **{"tokens": st.builds(Tokens, k=st.integers(1, 3)), "most_unknown": st.sampled_from([0.0, 0.5, 1.0])},
)


@given(st.text(alphabet="ACGTNacgtR-", max_size=60), specs, st.integers(0, 9))
def test_windows_are_those_of_a_naive_reading(text, spec, start):
    found = cut(record(text, start=start), spec)
    rows = [(at, spec.tokens.decode(codes)) for at, codes in zip(found.start, found.codes, strict=True)]
    assert rows == naive(text, spec, start)
    assert found.codes.dtype == spec.tokens.dtype and not found.reverse.any()


def test_windows_left_out_are_counted():
    found = cut(record("ACGTNNNNACGTNACGT"), WindowSpec(length=4, most_unknown=0.25))
    assert (found.start.tolist(), found.left_out) == ([0, 8, 12], 1)


def test_other_strand_follows_each_window():
    spec = WindowSpec(length=4, stride=2, both_strands=True)
    found = cut(record("AACCGT"), spec)
    assert [spec.tokens.decode(row) for row in found.codes] == ["AACC", "GGTT", "CCGT", "ACGG"]
    assert (found.start.tolist(), found.reverse.tolist()) == ([0, 0, 2, 2], [False, True, False, True])


def test_start_counts_gaps_that_were_left_out():
    found = cut(record("--AC-GT", start=100), WindowSpec(length=2, gaps="drop"))
    assert found.start.tolist() == [102, 105]


@pytest.mark.parametrize("letter", ["*", "X", ".", " ", "1"])
def test_letter_that_is_none_is_named_with_its_position(letter):
    text = f"x.fa: record 'r', position 13: expected A, C, G, T, N, another IUPAC code or '-', got {letter!r}"
    with pytest.raises(SpecError, match=f"^{re.escape(text)}$"):
        cut(record(f"AC{letter}GT", start=10), WindowSpec(length=2))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: WindowSpec(length=0), "window >= 1 tokens"),
        (lambda: WindowSpec(length=4, stride=0), "stride >= 1 tokens"),
        (lambda: WindowSpec(length=4, most_unknown=1.5), "a share of unknown tokens from 0 to 1"),
        (lambda: WindowSpec(length=4, tokens=Tokens("ACGU"), both_strands=True), "letters A, C, G and T"),
        (lambda: Region.parse("chrM"), "region: expected START-END or NAME:START-END"),
        (lambda: Region.parse("0-5"), "1 <= start <= end"),
        (
            lambda: check_apart([Region(5, 9), Region(1, 5)]),
            "region 5-9: expected regions that do not overlap, got 1-5",
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(make, text):
    with pytest.raises(SpecError, match=re.escape(text)):
        make()


def test_regions_of_other_contigs_do_not_overlap():
    check_apart([Region(1, 9, "a"), Region(1, 9, "b")])
    assert np.all([str(Region.parse("a:b:1-9")) == "a:b:1-9", Region.parse("2-3") == Region(2, 3)])
