"""Randomised dosages: the stated law and no other, frequencies without bias, ε that adds up."""

import math

import numpy as np
import pytest
from scipy import stats

from fedgenome.errors import SpecError
from fedgenome.methods import randomised

EPSILON = 1.2


def told(x, epsilon, seed):
    return randomised.randomised(np.full((1, 60_000), x, np.int8), epsilon, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("x", [0, 1, 2])
def test_a_dosage_is_told_by_the_stated_law_and_by_no_other(x):
    seen = np.bincount(told(x, EPSILON, seed=x), minlength=3)
    laws = {}
    for epsilon in (EPSILON, 0.9 * EPSILON, 1.1 * EPSILON):
        expected = np.full(3, 1 / (math.exp(epsilon) + 2))
        expected[x] = math.exp(epsilon) / (math.exp(epsilon) + 2)
        laws[epsilon] = stats.chisquare(seen, 60_000 * expected).pvalue
    assert laws.pop(EPSILON) > 1e-3 and max(laws.values()) < 1e-6


def farthest(law):
    """Return the largest log ratio of the chances of one answer under two true dosages."""
    with np.errstate(divide="ignore"):
        logs = np.log(law)
    return (logs[:, None] - np.maximum(logs[None], -20)).max()


def test_no_two_dosages_nor_a_missing_one_are_told_apart_by_more_than_epsilon():
    law = np.array([np.bincount(told(x, EPSILON, seed=10 + x), minlength=3) / 60_000 for x in (-1, 0, 1, 2)])
    # A log ratio of two shares of .19 and more has a standard error below .013; the largest of 48: 4 of them.
    assert farthest(law) == pytest.approx(EPSILON, abs=0.05)
    law[0] = [1, 0, 0]  # the twin that tells a missing dosage as 0, always
    assert farthest(law) > EPSILON + 0.2


def test_frequencies_are_without_bias_and_those_of_what_is_told_are_not():
    rng = np.random.default_rng(20)
    p = rng.uniform(0.05, 0.5, 200)
    x = rng.binomial(2, p, (4000, 200)).astype(np.int8)
    seen = randomised.randomised(x, EPSILON, rng)
    apart = randomised.frequencies(seen, EPSILON) - x.mean(0) / 2
    spread = seen.std(0) / (3 * randomised.kept(EPSILON) - 1) / math.sqrt(4000)
    assert abs((apart / spread).mean()) < 4 / math.sqrt(200)
    assert abs(((seen.mean(0) - x.mean(0)) / 2 / spread).mean()) > 5


def test_many_variants_cost_the_sum_or_what_concentration_leaves_of_it():
    assert randomised.composed(0.5, 8) == 4.0 == randomised.composed(0.5, 8, 1e-30)
    rho = 500 * 0.1**2 / 2
    assert randomised.composed(0.1, 500, 1e-6) == pytest.approx(rho + 2 * math.sqrt(rho * math.log(1e6)))


def test_what_is_no_dosage_or_no_epsilon_is_refused():
    with pytest.raises(SpecError, match="dosages of 0, 1 and 2"):
        randomised.randomised(np.array([[3]]), 1.0, np.random.default_rng(0))
    with pytest.raises(SpecError, match="epsilon > 0"):
        randomised.kept(0.0)
    with pytest.raises(SpecError, match="dosages as they are told"):
        randomised.frequencies(np.array([[-1]]), 1.0)
