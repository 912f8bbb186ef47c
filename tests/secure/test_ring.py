"""The ring: encoding, two's complement, and the check after opening."""

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgenome.errors import RoleError, SpecError
from fedgenome.secure import ring

WIDTHS = (32, 64)
vectors = hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(-1000, 1000, width=64))
scales = st.integers(-8, 16).map(lambda power: 2.0**power)


def nearest(x: float, scale: float) -> int:
    """The oracle: exact rational arithmetic, ties to even."""
    return round(Fraction(x) * Fraction(scale))


@given(vectors, scales, st.sampled_from(WIDTHS))
def test_encoding_is_the_nearest_integer_of_the_exact_product(total, scale, width):
    words = ring.encode(total, scale, width)
    assert words.dtype == ring.dtype_of(width)
    assert ring.signed(words).tolist() == [nearest(x, scale) for x in total]


@given(vectors, scales, st.sampled_from(WIDTHS))
def test_decoding_returns_the_number_to_half_a_unit(total, scale, width):
    back = ring.decode(ring.encode(total, scale, width), scale, width)
    assert back.dtype == np.float64
    assert np.all(np.abs(back - total) <= 0.5 / scale)


@given(st.lists(vectors.filter(lambda v: v.size >= 3), min_size=1, max_size=5), scales, st.sampled_from(WIDTHS))
def test_sum_in_the_ring_is_the_integer_sum(totals, scale, width):
    words = [ring.encode(total[:3], scale, width) for total in totals]
    expected = [sum(nearest(x, scale) for x in column) for column in zip(*(t[:3] for t in totals), strict=True)]
    assert ring.signed(np.sum(words, axis=0, dtype=ring.dtype_of(width))).tolist() == expected


@pytest.mark.parametrize("width", WIDTHS)
def test_every_block_of_a_long_vector_is_encoded(width):
    total = np.arange(2 * ring._BLOCK + 3) / 7 - 1000
    assert np.array_equal(ring.signed(ring.encode(total, 8.0, width)), np.rint(total * 8).astype(np.int64))


def test_encoding_leaves_its_input_alone():
    total = np.array([0.3, -0.7])
    total.setflags(write=False)
    ring.encode(total, 4.0, 32)
    assert total.tolist() == [0.3, -0.7]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("sign", [-1, 1])
def test_width_holds_its_largest_number_and_refuses_the_next(width, sign):
    edge = 2.0 ** (width - 2)
    largest = math.nextafter(edge, 0) if width == 64 else edge - 1
    assert ring.signed(ring.encode(np.array([sign * largest]), 1.0, width)).tolist() == [sign * int(largest)]
    with pytest.raises(SpecError, match=rf"finite numbers below 2\^{width - 2} ring units"):
        ring.encode(np.array([sign * edge]), 1.0, width)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e308, -7.25e30])
@pytest.mark.parametrize("place", [0, 2 * ring._BLOCK + 2])
def test_bad_number_anywhere_is_refused_without_being_told(bad, place):
    total = np.zeros(2 * ring._BLOCK + 3)
    total[place] = bad
    with pytest.raises(SpecError, match="finite") as refusal:
        ring.encode(total, 1024.0, 64)
    assert str(refusal.value) == "expected a sum of finite numbers below 2^62 ring units"


@pytest.mark.parametrize("scale", [3.0, 0.0, -2.0, math.inf, math.nan])
def test_scale_is_a_power_of_two(scale):
    with pytest.raises(SpecError, match=r"a power of two, got scale="):
        ring.encode(np.zeros(2), scale, 32)


@pytest.mark.parametrize("width", [0, 16, 33, 128])
def test_other_widths_are_refused(width):
    with pytest.raises(SpecError, match=f"32 or 64 bits, got width={width}"):
        ring.dtype_of(width)
    with pytest.raises(SpecError, match=f"32 or 64 bits, got width={width}"):
        ring.encode(np.zeros(1), 1.0, width)


def test_only_vectors_are_encoded():
    with pytest.raises(SpecError, match=r"one axis, got shape=\(2, 2\)"):
        ring.encode(np.zeros((2, 2)), 1.0, 32)


def test_words_of_another_width_are_not_decoded():
    with pytest.raises(SpecError, match="words of 64 bits, got dtype='uint32'"):
        ring.decode(np.zeros(2, np.uint32), 1.0, 64)


def test_words_are_read_as_twos_complement():
    narrow = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)
    assert ring.signed(narrow).tolist() == [0, 1, 2**31 - 1, -(2**31), -1]
    wide = np.array([0, 2**63 - 1, 2**63, 2**64 - 1], np.uint64)
    assert ring.signed(wide).tolist() == [0, 2**63 - 1, -(2**63), -1]


def test_words_are_little_endian():
    assert ring.as_words(b"\x01\0\0\0\0\x02\0\0", 32).tolist() == [1, 512]
    assert ring.as_words(memoryview(b"\x01\0\0\0\0\0\0\x80"), 64).tolist() == [2**63 + 1]


@pytest.mark.parametrize("beyond", [1001, -1001, 2**63 - 1, -(2**63)])
def test_sum_up_to_its_limit_passes_and_one_beyond_is_refused(beyond):
    ring.check_range(np.array([1000, -1000, 0]).view(np.uint64), 1000.0)
    with pytest.raises(RoleError, match=r"sum outside its declared range: 1 of 3 .* ±1000 ring units, the first at 1;"):
        ring.check_range(np.array([5, beyond, 0]).view(np.uint64), 1000.0)


def test_empty_sum_is_in_range_and_decodes_to_nothing():
    words = np.empty(0, np.uint32)
    ring.check_range(words, 1.0)
    assert ring.decode(words, 1.0, 32).shape == (0,)


@given(st.integers(2**30, 2**31 + 2**30))
def test_sum_beyond_the_width_rule_is_noticed_until_it_wraps_onto_the_honest_range(true_sum):
    words = np.array([true_sum % 2**32], np.uint32)
    with pytest.raises(RoleError, match="declared range"):
        ring.check_range(words, math.nextafter(2.0**30, 0))


@pytest.mark.parametrize("width", WIDTHS)
def test_decoding_and_checking_hold_nothing_but_the_result(width):
    words, held = np.ones(10**6, ring.dtype_of(width)), []
    for work in (lambda: ring.decode(words, 4.0, width), lambda: ring.check_range(words, 10.0)):
        tracemalloc.start()
        work()
        held.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert held[0] < 8 * words.size + 200_000 and held[1] < 200_000
