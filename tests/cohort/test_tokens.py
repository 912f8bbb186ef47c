"""Letters ↔ codes: both ways, both strands, k letters at a time."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.cohort.tokens import Tokens
from fedgenome.errors import SpecError

alphabets = st.sampled_from(["ACGT", "TGCA", "ACGU", "AB"])
widths = st.integers(1, 5)
anything = st.text(alphabet="ACGTNacgtRY-*\u00e9", max_size=40)


@given(alphabets, widths, st.data())
def test_known_text_comes_back_whole(letters, k, data):
    text = data.draw(st.text(alphabet=letters, max_size=30))
    tokens = Tokens(letters, k)
    assert tokens.decode(tokens.encode(text)) == text[: len(text) // k * k]


@given(alphabets, widths)
def test_codes_are_the_strings_in_order_of_the_letters(letters, k):
    tokens = Tokens(letters, k)
    text = tokens.decode(np.arange(tokens.size))
    strings = [text[i : i + k] for i in range(0, len(text), k)]
    assert strings == sorted(strings, key=lambda one: [letters.index(letter) for letter in one])
    assert len(set(strings)) == tokens.size == len(letters) ** k


@given(anything, widths)
def test_codes_are_those_of_a_naive_reading(text, k):
    tokens = Tokens(k=k)
    naive = []
    for start in range(0, len(text) - k + 1, k):
        digits = ["ACGT".find(letter) for letter in text[start : start + k].upper()]
        naive.append(tokens.unknown if -1 in digits else sum(d * 4**i for i, d in enumerate(reversed(digits))))
    assert tokens.encode(text).tolist() == naive


@given(anything, widths, st.sampled_from(["ACGT", "TCGA"]))
def test_other_strand_is_the_text_backwards_in_its_pairs(text, k, letters):
    tokens = Tokens(letters, k)
    known = tokens.decode(tokens.encode(text))  # unknown tokens are all N here
    turned = tokens.reverse_complement(tokens.encode(text))
    assert tokens.decode(turned) == known[::-1].translate(str.maketrans("ACGT", "TGCA"))
    assert np.array_equal(tokens.reverse_complement(turned), tokens.encode(text))


def test_rows_are_turned_each_by_itself():
    tokens, rows = Tokens(k=2), np.array([[0, 1, 16], [5, 6, 7]], np.uint8)
    each = [tokens.reverse_complement(row).tolist() for row in rows]
    assert tokens.reverse_complement(rows).tolist() == each == [[16, 11, 15], [2, 6, 10]]


def test_every_code_fits_the_storage_that_is_named():
    assert [Tokens(k=k).dtype for k in (1, 3, 4, 7)] == [np.uint8, np.uint8, np.uint16, np.uint16]
    assert all(np.iinfo(Tokens(k=k).dtype).max >= Tokens(k=k).unknown for k in range(1, 8))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Tokens("ACCT"), "two or more letters A-Z, each once, without N (unknown), got 'ACCT'"),
        (lambda: Tokens("acgt"), "two or more letters A-Z, each once, without N (unknown), got 'acgt'"),
        (lambda: Tokens("ACGN"), "without N (unknown), got 'ACGN'"),
        (lambda: Tokens(k=8), "tokens: expected len(letters)**k < 65536, got 65536 with k=8"),
        (lambda: Tokens().decode(np.array([0, 5])), "codes from 0 to 4"),
        (lambda: Tokens().decode(np.array([0.0])), "codes that are integers, got dtype='float64'"),
        (lambda: Tokens("ACGU").reverse_complement(np.array([0])), "letters A, C, G and T"),
    ],
)
def test_what_is_no_vocabulary_or_no_code_of_it_is_refused(make, text):
    with pytest.raises(SpecError, match=re.escape(text)):
        make()
