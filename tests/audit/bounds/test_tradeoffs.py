"""Trade-offs against dp-accounting, against sums over a grid, and against one another."""

import dp_accounting
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedgenome.audit.bounds import tradeoffs
from fedgenome.errors import SpecError

RATES = st.floats(0, 1)


@given(st.floats(0.02, 20), st.sampled_from([1e-2, 1e-5, 1e-9]))
def test_epsilon_of_mu_is_dp_accountings(mu, delta):
    assert tradeoffs.epsilon_of(mu, delta) == pytest.approx(dp_accounting.get_epsilon_gaussian(1 / mu, delta), abs=1e-6)


def test_no_mu_costs_nothing_and_no_delta_is_refused():
    assert tradeoffs.epsilon_of(0.0, 1e-5) == 0
    with pytest.raises(SpecError, match=r"0 < delta < 1, got mu=1.0, delta=0.0"):
        tradeoffs.epsilon_of(1.0, 0.0)


@given(st.floats(0, 4), st.sampled_from([0.0, 1e-3, 0.1]), RATES)
def test_approximate_curve_is_tight_in_one_of_both_directions(epsilon, delta, hits):
    alarms = tradeoffs.approximate(epsilon, delta)(hits)
    ways = [np.exp(epsilon) * alarms + delta - hits, np.exp(epsilon) * (1 - hits) + delta - (1 - alarms)]
    assert min(ways) > -1e-9
    assert min(ways) < 1e-9 or alarms == 0


@given(st.floats(0, 4), RATES)
def test_gaussian_curve_is_that_of_a_threshold(mu, hits):
    assert tradeoffs.gaussian(mu)(hits) == pytest.approx(stats.norm.sf(stats.norm.isf(hits) + mu), abs=1e-12)


def _grid_delta(mean, spread, null, epsilon):
    """Return the larger hockey-stick divergence of N(mean, spread²) and N(0, null²), by a sum over a grid."""
    x = np.linspace(-30, 30, 200_001)
    p, q = stats.norm.pdf(x, mean, spread), stats.norm.pdf(x, 0, null)
    over = [np.maximum(a - np.exp(epsilon) * b, 0).sum() * (x[1] - x[0]) for a, b in ((p, q), (q, p))]
    return max(over)


@pytest.mark.parametrize(("mean", "spread", "null"), [(1, 1, 1), (1, 1.3, 1), (0.4, 0.7, 1), (0, 2, 1), (-2, 1, 1.5)])
def test_two_gaussians_meet_delta_on_a_grid(mean, spread, null):
    epsilon = tradeoffs.two_gaussians(mean, spread, null, 1e-3)
    assert _grid_delta(mean, spread, null, epsilon) == pytest.approx(1e-3, rel=1e-3)


def test_two_gaussians_of_one_spread_are_gaussian_dp_and_alike_ones_cost_nothing():
    assert tradeoffs.two_gaussians(3.0, 2.0, 2.0, 1e-5) == pytest.approx(tradeoffs.epsilon_of(1.5, 1e-5))
    assert tradeoffs.two_gaussians(0.0, 1.0, 1.0, 1e-5) == 0


@given(st.floats(1e-3, 3), st.sampled_from([0.0, 1e-4, 1e-2]), st.integers(1, 64))
def test_delta_of_a_group_is_the_geometric_series_in_closed_form(epsilon, delta, copies):
    closed = delta * np.expm1(copies * epsilon) / np.expm1(epsilon)
    assert tradeoffs.group_delta(epsilon, delta, copies) == pytest.approx(closed)
    assert tradeoffs.group_delta(0.0, delta, copies) == pytest.approx(delta * copies)


@given(RATES, st.floats(1e-6, 1), st.sampled_from([0.0, 1e-4, 0.05]), st.integers(1, 6))
def test_refuted_epsilon_is_where_the_group_bound_meets_the_rate(present, absent, delta, copies):
    epsilon = tradeoffs.epsilon_between(present, absent, delta, copies)
    allowed = np.exp(copies * epsilon) * absent + tradeoffs.group_delta(epsilon, delta, copies)
    assert allowed == pytest.approx(present, rel=1e-6) if epsilon > 0 else allowed >= present - 1e-9
