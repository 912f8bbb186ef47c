import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedgenome.audit.bounds import updates
from fedgenome.audit.bounds.tradeoffs import epsilon_of
from fedgenome.errors import SpecError

DIMENSION = 50


def _directions(n, rng, dimension=DIMENSION):
    drawn = rng.normal(size=(n, dimension))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_p_values_of_canaries_that_were_not_sent_are_uniform_in_few_dimensions_too():
    """2,000 directions in 4 dimensions, two-sided; the normal limit is rejected there."""
    rng = np.random.default_rng(1)
    seen = updates.cosines(_directions(2000, rng, 4), np.array([3.0, 0, 0, -1]))
    assert stats.kstest(updates.p_values(seen, 4), "uniform").pvalue > 1e-3
    assert stats.kstest(stats.norm.sf(seen * 2.0), "uniform").pvalue < 1e-4


@given(st.floats(-4, 4))
def test_law_of_the_cosine_is_normal_in_many_dimensions(z):
    assert updates.p_values(np.array([z / 1000]), 10**6)[0] == pytest.approx(stats.norm.sf(z), rel=1e-4)


@given(st.floats(1e-6, 0.5), st.integers(2, 10**7))
def test_threshold_is_exceeded_at_its_rate(rate, dimension):
    assert updates.p_values(np.array([updates.threshold(rate, dimension)]), dimension)[0] == pytest.approx(
        rate, rel=1e-4
    )


def _aggregate(sent, noise, rng):
    return sent.sum(0) + rng.normal(0, noise, sent.shape[1])


def _found(sent, repetitions=200):
    """Return how often "no canary was sent" is rejected at 5 %, where a part of 20 canaries was."""
    rng = np.random.default_rng(2)

    def once():
        canaries = _directions(20, rng)
        return updates.p_value(updates.cosines(canaries, _aggregate(canaries[:sent], 0.3, rng)), DIMENSION)

    return np.mean([once() < 0.05 for _ in range(repetitions)])


def test_canaries_that_were_not_sent_are_found_as_seldom_as_it_says_and_sent_ones_nearly_always():
    assert _found(sent=0) <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
    assert _found(sent=20) > 0.95


@given(st.integers(1, 100))
def test_looking_at_more_rounds_is_paid_for(looks):
    seen = np.full(10, 0.2)
    assert updates.p_value(seen, DIMENSION, looks) == pytest.approx(min(1, looks * updates.p_value(seen, DIMENSION)))


def test_epsilon_bounds_hits_beyond_a_known_false_alarm_rate():
    hits = updates.threshold(0.01, 1000) + 1e-6
    seen = np.where(np.arange(100) < 60, hits, 0.0)
    low = stats.binomtest(60, 100).proportion_ci(0.9, "exact").low
    assert updates.epsilon(seen, 1000, 1e-5).epsilon == pytest.approx(np.log((low - 1e-5) / 0.01))
    assert updates.epsilon(seen, 1000, 1e-5, level=0.99).epsilon < updates.epsilon(seen, 1000, 1e-5).epsilon
    assert updates.epsilon(np.zeros(100), 1000, 1e-5).epsilon == 0


def test_estimate_is_the_gaussian_mechanisms_epsilon_for_cosines_of_its_law():
    """Cosines of mean and spread 1/√d exactly, as of unit canaries and noise 1 a coordinate: ε of μ = 1."""
    seen = (1 + np.array([-1.0, 1.0]) / np.sqrt(2)) / np.sqrt(20_000)
    assert updates.estimate(seen, 20_000, 1e-5) == pytest.approx(epsilon_of(1.0, 1e-5))


def test_zero_update_has_no_direction_and_shapes_must_fit():
    canaries = _directions(3, np.random.default_rng(0))
    assert updates.cosines(canaries, np.zeros(DIMENSION)).tolist() == [0, 0, 0]
    with pytest.raises(SpecError, match=r"canaries \(n, d\), update \(d,\)"):
        updates.cosines(canaries, np.zeros(3))
    with pytest.raises(SpecError, match="dimension >= 2, got dimension=1"):
        updates.threshold(0.1, 1)
