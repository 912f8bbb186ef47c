import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedgenome.audit.bounds import clopper_pearson
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.bounds.tradeoffs import epsilon_of
from fedgenome.errors import SpecError


@st.composite
def counts(draw):
    m, n = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    hits, alarms = draw(st.integers(0, m)), draw(st.integers(0, n))
    return Counts(hits=hits, members=m, false_alarms=alarms, controls=n)


@settings(max_examples=25)
@given(counts(), st.sampled_from([0.0, 1e-3, 0.1]), st.floats(0.001, 0.3))
def test_epsilon_is_the_larger_log_ratio_of_exact_intervals(seen, delta, significance):
    level = 1 - significance
    hits = stats.binomtest(seen.hits, seen.members).proportion_ci(level, "exact").low
    alarms = stats.binomtest(seen.false_alarms, seen.controls).proportion_ci(level, "exact").high
    ratios = [(hits - delta) / alarms, (1 - alarms - delta) / (1 - hits)]
    assert clopper_pearson.epsilon(seen, significance, delta) == pytest.approx(np.log(max(1.0, *ratios)))


@given(counts(), st.floats(0.001, 0.3))
def test_bounds_grow_with_hits_and_fall_with_delta_copies_and_confidence(seen, significance):
    here = clopper_pearson.epsilon(seen, significance)
    assert clopper_pearson.epsilon(seen, significance, 0.01) <= here
    assert clopper_pearson.epsilon(seen, significance / 2) <= here
    assert clopper_pearson.epsilon(seen, significance, copies=4) == pytest.approx(here / 4)
    if seen.hits < seen.members:
        more = Counts(hits=seen.hits + 1, members=seen.members, false_alarms=seen.false_alarms, controls=seen.controls)
        assert clopper_pearson.epsilon(more, significance) >= here
        assert clopper_pearson.mu(more, significance) >= clopper_pearson.mu(seen, significance)


@given(st.integers(1, 200), st.integers(0, 200))
def test_equal_rates_refute_nothing(n, above):
    seen = Counts(hits=min(above, n), members=n, false_alarms=min(above, n), controls=n)
    assert clopper_pearson.epsilon(seen, 0.05) == clopper_pearson.mu(seen, 0.05) == 0


@settings(max_examples=25)
@given(counts())
def test_gaussian_route_is_mu_between_the_exact_ends(seen):
    rule = clopper_pearson.gaussian_rule(1e-5)
    hits = stats.binomtest(seen.hits, seen.members).proportion_ci(0.95, "exact").low
    alarms = stats.binomtest(seen.false_alarms, seen.controls).proportion_ci(0.95, "exact").high
    expected = max(0.0, stats.norm.isf(alarms) - stats.norm.isf(hits)) if hits > 0 and alarms < 1 else 0.0
    assert rule.low(seen, 0.05) == pytest.approx(expected)
    assert rule.epsilon(rule.low(seen, 0.05)) == pytest.approx(epsilon_of(expected, 1e-5))


def test_gaussian_route_is_called_conditional_and_is_wrong_for_randomised_response():
    """A coin told rightly with chance 3/4 is (ln 3, 0)-DP; the Gaussian curve through it claims far more."""
    told = Counts(hits=75_000, members=100_000, false_alarms=25_000, controls=100_000)
    rule = clopper_pearson.gaussian_rule(1e-5)
    assert rule.epsilon(rule.low(told, 0.05)) > 4 * np.log(3)
    assert clopper_pearson.epsilon(told, 0.05) <= np.log(3)
    assert "conditional" in rule.name and "trade-off curve is Gaussian" in rule.assumes


def test_impossible_counts_are_refused():
    with pytest.raises(SpecError, match=r"hits <= members .*got hits=3, members=2"):
        Counts(hits=3, members=2, false_alarms=0, controls=1)
    with pytest.raises(SpecError, match="a member and a control"):
        Counts(hits=0, members=0, false_alarms=0, controls=1)
    with pytest.raises(SpecError, match=r"0 < significance < 1, got significance=0"):
        clopper_pearson.epsilon(Counts(hits=1, members=1, false_alarms=0, controls=1), 0)
