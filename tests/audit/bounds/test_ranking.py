import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.metrics import roc_auc_score

from fedgenome.audit.bounds import ranking
from fedgenome.errors import SpecError

SCORES = hnp.arrays(np.float64, st.integers(2, 40), elements=st.integers(-5, 5).map(float))


def _truth(members, controls):
    return np.repeat([1, 0], [len(members), len(controls)]), np.concatenate([members, controls])


@given(SCORES, SCORES)
def test_auc_is_scikit_learns_with_ties(members, controls):
    assert ranking.auc(members, controls) == pytest.approx(roc_auc_score(*_truth(members, controls)))


@given(SCORES, SCORES)
def test_interval_holds_its_estimate_inside_zero_and_one(members, controls):
    seen = ranking.auc_interval(members, controls)
    assert 0 <= seen.low <= seen.estimate <= seen.high <= 1
    assert seen.high - seen.low > 0.01  # never a point, even where DeLong's variance vanishes


def test_delong_variance_is_that_of_the_double_loop():
    rng = np.random.default_rng(1)
    members, controls = rng.normal(0.5, 1, 13), rng.normal(0, 1, 9).round(1)
    wins = (members[:, None] > controls) + 0.5 * (members[:, None] == controls)
    expected = wins.mean(1).var(ddof=1) / 13 + wins.mean(0).var(ddof=1) / 9
    assert ranking._delong_variance(members, controls) == pytest.approx(expected)


@pytest.mark.parametrize("area", [0.5, 0.7, 0.99, 1.0])
def test_newcombe_bound_solves_its_equation(area):
    m, n, z = 30, 20, 1.96
    low = ranking._newcombe_low(area, m, n, z)
    middle = (m + n) / 2 - 1
    variance = low * (1 - low) * (1 + middle * (1 - low) / (2 - low) + middle * low / (1 + low)) / (m * n)
    assert area - low == pytest.approx(z * variance**0.5, abs=1e-8)


def test_perfect_attack_has_a_lower_bound_below_one_and_its_mirror_above_zero():
    perfect = ranking.auc_interval(np.ones(30), np.zeros(20))
    opposite = ranking.auc_interval(np.zeros(30), np.ones(20))
    assert 0.8 < perfect.low < 1 == perfect.high
    assert opposite.high == pytest.approx(1 - perfect.low)


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(SpecError, match="finite scores"):
        ranking.auc_interval(np.array([1.0, np.nan]), np.zeros(2))


@given(SCORES, SCORES)
def test_p_value_is_mann_whitneys(members, controls):
    pooled = np.concatenate([members, controls])
    expected = 1.0
    if np.ptp(pooled) > 0:
        expected = stats.mannwhitneyu(members, controls, alternative="greater", method="asymptotic").pvalue
    assert ranking.chance_p_value(members, controls) == pytest.approx(expected)


def test_detectable_auc_is_detected_in_eight_of_ten_audits():
    """300 draws, two tests: power .80 within four standard errors; a tenth of the leak is not found."""
    effect = ranking.detectable_auc(560, 94, tests=2)

    def power(share: float) -> float:
        rng = np.random.default_rng(3)
        found = 0
        for _ in range(300):
            members, controls = rng.random(560), rng.random(94)
            members[: round(share * 560)] = 2.0  # copied verbatim: above every control
            found += 2 * ranking.chance_p_value(members, controls) < 0.05
        return found / 300

    assert power(2 * effect - 1) == pytest.approx(0.8, abs=4 * (0.8 * 0.2 / 300) ** 0.5)
    assert power((2 * effect - 1) / 10) < 0.2
