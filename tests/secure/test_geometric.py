"""One-sided geometric noise: the exact distribution, no other, from the stream alone."""

import math
import secrets
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedgenome.errors import SpecError
from fedgenome.secure import geometric
from fedgenome.secure.geometric import BITS, sampler
from fedgenome.streams import Stream

rates = st.fractions(min_value=Fraction(1, 2**30), max_value=50, max_denominator=2**40)


def probability(sampler, k):
    """Return P(K = k) as the thresholds give it, exactly."""
    digits = [(threshold, k >> digit & 1) for digit, threshold in enumerate(sampler.thresholds)]
    assert k >> len(digits) == 0
    return math.prod(Fraction(t if one else 2**BITS - t, 2**BITS) for t, one in digits)


def p_value(drawn, rate):
    """Return the chi-square p-value of draws against exp(−rate·k), tail pooled so that cells hold at least 20."""
    edge = int(math.log(drawn.size / 20) / rate)
    seen = np.bincount(np.minimum(drawn, edge), minlength=edge + 1)
    share = np.exp(-rate * np.arange(edge + 1))
    share[:-1] *= -math.expm1(-rate)
    return stats.chisquare(seen, share * drawn.size).pvalue


@given(rate=rates)
def test_thresholds_are_right_to_320_bits(rate):
    with mpmath.workprec(700):
        for digit, threshold in enumerate(sampler(rate).thresholds):
            x = mpmath.mpf(rate.numerator) / rate.denominator * 2**digit
            assert abs(2**BITS / (1 + mpmath.exp(x)) - threshold) <= 1


@pytest.mark.parametrize("rate", [Fraction(1, 3), Fraction(1), Fraction(7, 2)])
def test_digits_make_the_exact_distribution(rate):
    made = sampler(rate)
    with mpmath.workprec(700):
        q = mpmath.exp(-mpmath.mpf(rate.numerator) / rate.denominator)
        for k in range(40):
            exact, held = (1 - q) * q**k, probability(made, k)
            assert abs(mpmath.mpf(held.numerator) / held.denominator - exact) < mpmath.mpf(2) ** (8 - BITS)
        assert q ** (2 ** len(made.thresholds)) < mpmath.mpf(2) ** -BITS  # what no draw can reach
    assert made.total_variation < 1e-93


@pytest.mark.parametrize("rate", [Fraction(1, 50), Fraction(1, 4), Fraction(1)])
def test_draws_have_the_stated_rate_and_no_other(rate):
    # Under the null a p-value is below 1e-5 once in 1e5 runs; the stream is fixed, so the outcome is too.
    drawn = sampler(rate).draw(400_000, Stream(b"draws of geometric noise, no. 1 "))
    p = {scale: p_value(drawn, scale * float(rate)) for scale in (0.97, 1.0, 1.03)}
    assert p[1.0] > 1e-5
    assert max(p[0.97], p[1.03]) < 1e-6


def test_neighbouring_draws_are_independent():
    drawn = sampler(Fraction(1, 2)).draw(200_000, Stream(b"draws of geometric noise, no. 2 "))
    table = np.histogram2d(np.minimum(drawn[:-1], 5), np.minimum(drawn[1:], 5), bins=6)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-5
    assert stats.chi2_contingency(table + 0.05 * table.sum() / 6 * np.eye(6)).pvalue < 1e-6


class Told:
    """A stream that gives the words and bits it is told."""

    def __init__(self, words, more):
        self._words, self._more = iter(words), iter(more)

    def fill(self, buffer):
        buffer[:] = next(self._words)

    def read(self, n_bytes):
        return next(self._more).to_bytes(n_bytes, "little")


@given(rate=rates, above=st.integers(-1, 0), data=st.data())
def test_word_at_the_threshold_is_decided_by_256_bits_more(rate, above, data):
    thresholds = sampler(rate).thresholds
    tops = [threshold >> 256 for threshold in thresholds]
    rests = [threshold % 2**256 for threshold in thresholds]
    drawn = geometric.Sampler(rate=rate, thresholds=thresholds).draw(
        1, Told(tops, [max(rest + above, 0) for rest in rests])
    )
    assert drawn.tolist() == [sum(1 << i for i, rest in enumerate(rests) if max(rest + above, 0) < rest)]


@given(rate=rates, off=st.sampled_from([-1, 1]))
def test_word_beside_the_threshold_takes_no_more_bits(rate, off):
    tops = [min(max((threshold >> 256) + off, 0), 2**64 - 1) for threshold in sampler(rate).thresholds]
    clear = [top != threshold >> 256 for top, threshold in zip(tops, sampler(rate).thresholds, strict=True)]
    (drawn,) = sampler(rate).draw(1, Told(tops, [0] * (len(tops) - sum(clear))))
    sure = sum(1 << i for i, plain in enumerate(clear) if plain)
    assert drawn & sure == (sure if off < 0 else 0)


def test_draws_come_from_the_stream_alone():
    key = secrets.token_bytes(32)
    one, same, other = (sampler(Fraction(1, 9)).draw(70_000, Stream(k)) for k in (key, key, bytes(32)))
    assert (one == same).all()
    assert (one != other).any()
    assert one.min() == 0


@pytest.mark.parametrize(
    ("rate", "rule"),
    [
        (Fraction(0), r"expected a positive rate, got rate=0\.0"),
        (Fraction(-1), r"expected a positive rate"),
        (Fraction(1, 2**60), r"expected draws below 2\^62"),
    ],
)
def test_rate_that_cannot_be_drawn_is_refused(rate, rule):
    with pytest.raises(SpecError, match=rule):
        sampler(rate)
