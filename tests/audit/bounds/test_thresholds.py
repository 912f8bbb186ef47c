"""The level of a bound whose threshold was searched for: kept where the search is paid for, lost where it is not."""

import numpy as np
import pytest

from fedgenome.audit.bounds import clopper_pearson, thresholds
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.errors import SpecError

RULE = clopper_pearson.rule()
LEVEL = 0.8  # one false alarm in five is allowed, so that a lost level shows in few repetitions
REPETITIONS = 150
ALLOWED = 0.2 + 3 * (0.2 * 0.8 / REPETITIONS) ** 0.5  # a sound bound exceeds it once in 700 such tests


def _false_alarms(bound, members=40, controls=40):
    """Return how often ``bound`` is above 0 where members and controls are alike."""
    rng = np.random.default_rng(12)
    draws = ((rng.normal(size=members), rng.normal(size=controls)) for _ in range(REPETITIONS))
    return np.mean([bound(*draw, rng) > 0 for draw in draws])


STRATEGIES = {
    "bonferroni": lambda a, b, rng: thresholds.bonferroni(a, b, RULE, b, LEVEL).epsilon,
    "split": lambda a, b, rng: thresholds.split(a, b, RULE, rng, LEVEL).epsilon,
    "multi-split": lambda a, b, rng: thresholds.multi_split(a, b, RULE, rng, 3, LEVEL).epsilon,
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_searched_threshold_keeps_the_level(strategy):
    assert _false_alarms(STRATEGIES[strategy]) <= ALLOWED


def test_search_over_many_controls_keeps_the_level_if_paid_for_and_loses_it_if_not():
    """The broken twin takes the best of 30 thresholds, each at the whole 20 %."""
    paid = _false_alarms(
        lambda a, b, rng: thresholds.bonferroni(a, b, RULE, np.sort(b)[::200], LEVEL).epsilon, 200, 6000
    )
    unpaid = _false_alarms(lambda a, b, rng: thresholds._best(a, b, RULE, np.sort(b)[::200], 0.2)[0], 200, 6000)
    assert paid <= ALLOWED < unpaid


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_members_far_above_controls_are_found(strategy):
    rng = np.random.default_rng(13)
    assert STRATEGIES[strategy](rng.normal(6, 1, 200), rng.normal(0, 1, 200), rng) > 1.5


def test_one_threshold_is_judged_at_the_whole_level_and_above_is_strictly_above():
    members, controls = np.array([1.0, 2, 2, 3]), np.array([0.0, 2, 2, 2])
    assert thresholds.counts_at(members, controls, 2.0) == Counts(hits=1, members=4, false_alarms=0, controls=4)
    many = np.repeat(members, 30), np.repeat(controls, 30)
    found = thresholds.bonferroni(*many, RULE, np.array([2.0]))
    assert found.epsilon == clopper_pearson.epsilon(thresholds.counts_at(*many, 2.0), 1 - 0.95)
    assert found.method == "Clopper–Pearson, one threshold fixed beforehand"


def test_repeated_thresholds_are_paid_for_as_given():
    members, controls = np.repeat([1.0, 3.0], 50), np.repeat([0.0, 3.0], [90, 10])
    four = thresholds.bonferroni(members, controls, RULE, np.array([2.0] * 4))
    expected = clopper_pearson.epsilon(thresholds.counts_at(members, controls, 2.0), 0.05 / 4)
    assert four.epsilon == pytest.approx(expected)
    assert "Bonferroni over 4 thresholds" in four.method


def test_gaussian_rule_keeps_its_mu_and_says_what_it_rests_on():
    members, controls = np.linspace(3, 5, 300), np.linspace(0, 2, 300)
    found = thresholds.bonferroni(members, controls, clopper_pearson.gaussian_rule(1e-5), np.array([2.5]))
    assert found.mu > 4
    assert found.to_json()["assumes"].endswith("the release's trade-off curve is Gaussian")


def test_nothing_to_split_and_no_threshold_are_refused():
    with pytest.raises(SpecError, match="2 members and 2 controls, got members=1"):
        thresholds.split(np.zeros(1), np.zeros(5), RULE, np.random.default_rng(0))
    with pytest.raises(SpecError, match="at least one threshold"):
        thresholds.bonferroni(np.zeros(1), np.zeros(5), RULE, np.zeros(0))
