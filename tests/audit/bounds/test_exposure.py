import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from fedgenome.audit.bounds import exposure
from fedgenome.errors import SpecError

SCORES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 9).map(float))


@settings(max_examples=40)
@given(SCORES, st.data())
def test_exact_exposure_is_brute_force_rank(space, data):
    canary = data.draw(st.sampled_from(list(space)))
    rank = sum(other <= canary for other in space)
    assert exposure.exact(np.array([canary]), space)[0] == pytest.approx(math.log2(len(space)) - math.log2(rank))


@settings(max_examples=40)
@given(SCORES, st.integers(-1, 10).map(float))
def test_sampled_exposure_ranks_the_references_first(references, canary):
    rank = 1 + sum(other <= canary for other in references)
    assert exposure.sampled(np.array([canary]), references)[0] == pytest.approx(math.log2(len(references) / rank))


def test_unplanted_canaries_have_ln_2_inverse_bits_on_average():
    """All 65,536 strings of 8 bases; two-sided: within four standard errors of 1.4427, one halved rank is not."""
    space = np.random.default_rng(1).permutation(4.0**8 - np.arange(4**8))
    bits = exposure.exact(space[:20_000], space)
    error = 4 * exposure.NULL_MEAN_BITS / math.sqrt(20_000)  # an exponential's spread is its mean
    assert pytest.approx(1.4427, abs=1e-4) == exposure.NULL_MEAN_BITS
    assert abs(bits.mean() - exposure.NULL_MEAN_BITS) < error < abs(bits.mean() + 0.05 - exposure.NULL_MEAN_BITS)


@pytest.mark.parametrize(
    ("bits", "copies", "pin"), [(16, 1, 8.09), (16, 10, 0.81), (24, 1, 13.6)], ids=["L=8", "L=8 ten times", "L=12"]
)
def test_epsilon_of_a_canary_ranked_first(bits, copies, pin):
    assert exposure.epsilon(bits, 0.0, copies=copies).epsilon == pytest.approx(pin, abs=0.05)


@given(st.floats(0, 40), st.sampled_from([0.0, 1e-6, 1e-3]), st.integers(1, 8), st.integers(1, 20))
def test_epsilon_of_exposure_grows_with_bits_and_falls_with_delta_copies_and_canaries(bits, delta, copies, canaries):
    here = exposure.epsilon(bits, delta, copies=copies, canaries=canaries).epsilon
    assert exposure.epsilon(bits + 1, delta, copies=copies, canaries=canaries).epsilon >= here
    assert exposure.epsilon(bits, delta, copies=copies + 1, canaries=canaries).epsilon <= here + 1e-9
    assert exposure.epsilon(bits, delta, copies=copies, canaries=canaries + 1).epsilon <= here + 1e-9
    assert exposure.epsilon(bits, delta + 1e-3, copies=copies, canaries=canaries).epsilon <= here + 1e-9


@given(st.floats(0, 1.44))
def test_exposure_at_chance_refutes_nothing(bits):
    assert exposure.epsilon(bits, 0.0).epsilon == 0


def test_highest_of_many_canaries_keeps_its_level_and_unpaid_does_not():
    """500 audits of 20 unplanted canaries: at most 5 % + 3 standard errors report ε > 0; unpaid six in ten."""
    highest = np.random.default_rng(2).exponential(1 / math.log(2), (500, 20)).max(1)
    paid, unpaid = (np.mean([exposure.epsilon(b, 0.0, canaries=n).epsilon > 0 for b in highest]) for n in (20, 1))
    assert paid <= 0.05 + 3 * (0.05 * 0.95 / 500) ** 0.5
    assert unpaid > 0.5


def test_mean_p_value_is_uniform_under_the_null_and_shared_references_would_not_be():
    """400 audits of 20 canaries, Kolmogorov–Smirnov, seed fixed; with 5 references for all of them it is far off."""
    rng = np.random.default_rng(3)
    own = [exposure.mean_p_value(rng.exponential(1 / math.log(2), 20)) for _ in range(400)]
    shared = [exposure.mean_p_value(exposure.sampled(rng.random(20), rng.random(5))) for _ in range(400)]
    assert stats.kstest(own, "uniform").pvalue > 1e-3
    assert stats.kstest(shared, "uniform").pvalue < 1e-6


def test_planted_canaries_have_a_small_p_value():
    assert exposure.mean_p_value(np.full(20, 4.0)) < 1e-6
    assert exposure.mean_p_value(np.zeros(20)) == 1


def test_extrapolation_agrees_with_samples_inside_and_its_fit_is_told():
    rng = np.random.default_rng(4)
    references = rng.normal(50, 3, 800)
    inside = np.quantile(references, [0.05, 0.2, 0.5])
    found = exposure.extrapolated(np.append(inside, -1e6), references, rng)
    assert found.fits
    assert found.bits[:3] == pytest.approx(exposure.sampled(inside, references), abs=0.4)
    assert found.bits[3] == exposure.MOST_BITS


def test_references_of_two_kinds_do_not_fit():
    rng = np.random.default_rng(5)
    references = np.concatenate([rng.normal(20, 1, 300), rng.normal(50, 1, 300)])
    assert not exposure.extrapolated(np.array([19.0]), references, rng).fits


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(SpecError, match="every canary among the scores of the space"):
        exposure.exact(np.array([0.0]), np.array([1.0, 2.0]))
    with pytest.raises(SpecError, match="at least 20 references, got references=3"):
        exposure.extrapolated(np.zeros(1), np.zeros(3), np.random.default_rng(0))
