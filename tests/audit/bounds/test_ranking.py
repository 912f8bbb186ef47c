import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from fedgenome.audit import bounds
from fedgenome.audit.results import GRID, smallest_false_alarms
from fedgenome.errors import SpecError

SCORES = hnp.arrays(np.float64, st.integers(2, 40), elements=st.integers(-5, 5).map(float))


def _truth(members, controls):
    return np.repeat([1, 0], [len(members), len(controls)]), np.concatenate([members, controls])


@given(SCORES, SCORES)
def test_auc_is_scikit_learns_with_ties(members, controls):
    assert bounds.auc(members, controls) == pytest.approx(roc_auc_score(*_truth(members, controls)))


@given(SCORES, SCORES)
def test_interval_holds_its_estimate_inside_zero_and_one(members, controls):
    seen = bounds.auc_interval(members, controls)
    assert 0 <= seen.low <= seen.estimate <= seen.high <= 1
    assert seen.high - seen.low > 0.01  # never a point, even where DeLong's variance vanishes


def test_delong_variance_is_that_of_the_double_loop():
    rng = np.random.default_rng(1)
    members, controls = rng.normal(0.5, 1, 13), rng.normal(0, 1, 9).round(1)
    wins = (members[:, None] > controls) + 0.5 * (members[:, None] == controls)
    expected = wins.mean(1).var(ddof=1) / 13 + wins.mean(0).var(ddof=1) / 9
    assert bounds._delong_variance(members, controls) == pytest.approx(expected)


@pytest.mark.parametrize("area", [0.5, 0.7, 0.99, 1.0])
def test_newcombe_bound_solves_its_equation(area):
    m, n, z = 30, 20, 1.96
    low = bounds._newcombe_low(area, m, n, z)
    middle = (m + n) / 2 - 1
    variance = low * (1 - low) * (1 + middle * (1 - low) / (2 - low) + middle * low / (1 + low)) / (m * n)
    assert area - low == pytest.approx(z * variance**0.5, abs=1e-8)


def test_perfect_attack_has_a_lower_bound_below_one_and_its_mirror_above_zero():
    perfect = bounds.auc_interval(np.ones(30), np.zeros(20))
    opposite = bounds.auc_interval(np.zeros(30), np.ones(20))
    assert 0.8 < perfect.low < 1 == perfect.high
    assert opposite.high == pytest.approx(1 - perfect.low)


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(SpecError, match="finite scores"):
        bounds.auc_interval(np.array([1.0, np.nan]), np.zeros(2))


@given(st.integers(1, 200), st.floats(0.001, 0.2), st.data())
def test_clopper_pearson_is_scipys(n, tail, data):
    hits = data.draw(st.integers(0, n))
    expected = stats.binomtest(hits, n).proportion_ci(1 - 2 * tail, "exact")
    assert bounds.clopper_pearson(hits, n, tail) == pytest.approx((expected.low, expected.high))


@given(SCORES, SCORES)
def test_p_value_is_mann_whitneys(members, controls):
    pooled = np.concatenate([members, controls])
    expected = 1.0
    if np.ptp(pooled) > 0:
        expected = stats.mannwhitneyu(members, controls, alternative="greater", method="asymptotic").pvalue
    assert bounds.chance_p_value(members, controls) == pytest.approx(expected)


@given(SCORES, SCORES)
def test_curve_is_scikit_learns_at_the_grid(members, controls):
    false_alarms, hits, _ = roc_curve(*_truth(members, controls), drop_intermediate=False)
    expected = [hits[false_alarms <= rate + 1e-12].max() for rate in GRID]
    assert bounds.curve(members, controls) == pytest.approx(expected)


def test_no_hit_rate_is_claimed_below_three_over_n():
    scores = np.arange(30.0)
    assert smallest_false_alarms(30) == pytest.approx(0.1)
    assert bounds.hit_rate(scores, scores) is not None
    assert bounds.hit_rate(scores, scores[:29]) is None
    assert bounds.hit_rate(scores, scores[:0]) is None


def test_hit_rate_of_copied_members_is_one_and_of_inverted_scores_zero():
    members, controls = np.linspace(2, 3, 200), np.linspace(0, 1, 100)
    caught, spared = bounds.hit_rate(members, controls), bounds.hit_rate(-members, -controls)
    assert (caught.estimate, caught.high, spared.estimate, spared.low) == (1, 1, 0, 0)
    assert caught.low > 0.95
    assert spared.high < 0.05


def test_hit_rate_of_constant_scores_excludes_nothing():
    seen = bounds.hit_rate(np.zeros(100), np.zeros(100))
    assert (seen.low, seen.high) == (0, 1)


def _covered(level: float, controls: int, shift: float, repetitions: int = 400) -> float:
    rng = np.random.default_rng([controls, 7])
    truth = stats.norm.sf(stats.norm.isf(0.1) - shift)
    draws = ((rng.normal(shift, 1, 120), rng.normal(0, 1, controls)) for _ in range(repetitions))
    seen = [bounds.hit_rate(members, others, level=level) for members, others in draws]
    return np.mean([one.low <= truth <= one.high for one in seen])


@pytest.mark.parametrize(("controls", "shift"), [(40, 0.0), (94, 0.0), (94, 1.0)])
def test_hit_rate_interval_covers_at_its_level_and_a_narrow_twin_does_not(controls, shift):
    """400 draws, seed fixed; a sound interval fails with chance 2.3 % a case, the twin is far off."""
    least = 0.95 - 2 * (0.95 * 0.05 / 400) ** 0.5
    assert _covered(0.95, controls, shift) >= least
    assert _covered(0.3, controls, shift) < least


def test_detectable_auc_is_detected_in_eight_of_ten_audits():
    """300 draws, two tests: power .80 within four standard errors; a tenth of the leak is not found."""
    effect = bounds.detectable_auc(560, 94, tests=2)

    def power(share: float) -> float:
        rng = np.random.default_rng(3)
        found = 0
        for _ in range(300):
            members, controls = rng.random(560), rng.random(94)
            members[: round(share * 560)] = 2.0  # copied verbatim: above every control
            found += 2 * bounds.chance_p_value(members, controls) < 0.05
        return found / 300

    assert power(2 * effect - 1) == pytest.approx(0.8, abs=4 * (0.8 * 0.2 / 300) ** 0.5)
    assert power((2 * effect - 1) / 10) < 0.2
