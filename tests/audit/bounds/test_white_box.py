import math

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit.bounds import white_box
from fedgenome.audit.bounds.tradeoffs import epsilon_of

CLIP = 2.0


def _runs(noise_multiplier, rng, runs=4000):
    """Return the canary's coordinate with and without it, of a sum whose noise is ``noise_multiplier`` · clip norm."""
    noise = rng.normal(0, noise_multiplier * CLIP, (2, runs))
    return noise[0] + CLIP, noise[1]


def _found(noise_multiplier, seed=1):
    return white_box.noise_found(*_runs(noise_multiplier, np.random.default_rng(seed)), threshold=CLIP / 2)


@pytest.mark.parametrize("z", [0.6, 1.0, 3.0])
def test_interval_of_the_noise_multiplier_holds_the_truth_and_not_its_half_or_double(z):
    seen = _found(z).noise_multiplier
    assert seen.low < z < seen.high
    assert z / 2 < seen.low and seen.high < 2 * z


def test_interval_of_mu_misses_as_seldom_as_it_says_and_excludes_half_of_the_noise():
    """300 audits at 80 %: at most 20 % + 3 standard errors miss μ = 1; nearly all exclude the μ of half the noise."""
    rng = np.random.default_rng(2)
    seen = [white_box.noise_found(*_runs(1.0, rng, 400), threshold=CLIP / 2, level=0.8).mu for _ in range(300)]
    assert np.mean([not each.low <= 1 <= each.high for each in seen]) <= 0.2 + 3 * (0.2 * 0.8 / 300) ** 0.5
    assert np.mean([each.low <= 2 <= each.high for each in seen]) < 0.05


def test_ends_of_mu_are_those_of_both_rates_at_a_quarter_of_the_error():
    found = _found(1.0)
    rates = [
        stats.binomtest(above, 4000).proportion_ci(0.975, "exact")
        for above in (found.counts.hits, found.counts.false_alarms)
    ]
    assert found.mu.low == pytest.approx(stats.norm.ppf(rates[0].low) - stats.norm.ppf(rates[1].high))
    assert found.mu.high == pytest.approx(stats.norm.ppf(rates[0].high) - stats.norm.ppf(rates[1].low))


def test_half_of_the_noise_is_refuted_and_all_of_it_is_not():
    assert white_box.p_value(_found(0.5).counts, mu=1.0) < 1e-6
    assert white_box.p_value(_found(1.0).counts, mu=1.0) > 0.05


def test_p_value_is_where_the_bound_meets_mu():
    counts = _found(0.9).counts
    p = white_box.p_value(counts, mu=1.0)
    below, above = (white_box.clopper_pearson.mu(counts, p * factor) for factor in (0.999, 1.001))
    assert below <= 1.0 <= above
    assert white_box.p_value(counts, mu=0.0) == 1e-100
    assert white_box.p_value(counts, mu=9.0) == 1


def test_epsilon_composes_over_queries_and_is_below_what_the_noise_costs():
    found = _found(4.0)
    bound = found.epsilon(1e-5, queries=16)
    assert bound.mu == found.mu.low * 4
    assert bound.epsilon == epsilon_of(bound.mu, 1e-5)
    assert 0.5 * epsilon_of(1.0, 1e-5) < bound.epsilon <= epsilon_of(1.0, 1e-5)
    assert bound.level == pytest.approx(0.975)


def test_noise_that_drowns_the_canary_has_no_upper_end():
    rng = np.random.default_rng(3)
    drowned = white_box.noise_found(rng.normal(0, 1e6, 500), rng.normal(0, 1e6, 500), threshold=1.0)
    assert drowned.mu.low == 0
    assert math.isinf(drowned.noise_multiplier.high)
    assert drowned.epsilon(1e-5).epsilon == 0


def test_one_missing_party_of_three_shows_in_as_many_runs():
    """Two of three parties' noise leaves a variance of 2/3: μ is √1.5 times as large."""
    found = _found(math.sqrt(2 / 3))
    assert found.mu.low > 1
    assert stats.norm.cdf(found.mu.estimate / 2) == pytest.approx(stats.norm.cdf(1.5**0.5 / 2), abs=0.02)
