"""A trusted server's selection is that of the parties: three parties' geometric noise in whole scores."""

import numpy as np
import pytest
from scipy import stats

from experiments import central
from fedgenome.query import PARTIES, Mechanism, Question

EPSILON, GAP, REPEATS = 0.8, 2, 4000


def question(mechanism=True, winners=1, monotone=True):
    made = Mechanism(kind="exponential", level=EPSILON, winners=winners) if mechanism else None
    asked = {"length": 2, "reply_length": winners, "bound": 0.5, "reduce": "select", "monotone": monotone}
    return Question(payload={}, mechanism=made, **asked)


def chance(rate, parties=PARTIES):
    """Return how often the second of two scores, ``GAP`` ring units ahead, wins; ties go to the first."""
    k = np.arange(200)
    noise = stats.nbinom.pmf(k, parties, -np.expm1(-rate))
    return float(sum(noise[i] * noise[: i + GAP].sum() for i in k))


def wins(asked):
    rng = np.random.default_rng(4)
    return sum(central._winners(asked, np.array([0.0, GAP / 2]), rng)[0] for _ in range(REPEATS))


@pytest.mark.parametrize("monotone", [True, False])
def test_larger_score_wins_as_often_as_the_parties_noise_lets_it(monotone):
    # bound .5 is one ring unit. Two-sided, false alarms 1e-4; another number of parties, or rate, is rejected.
    rate = EPSILON if monotone else EPSILON / 2
    won = wins(question(monotone=monotone))
    right, one, other = (
        stats.binomtest(won, REPEATS, p).pvalue for p in (chance(rate), chance(rate, parties=1), chance(1.5 * rate))
    )
    assert right > 1e-4 and max(one, other) < 1e-6


def test_without_noise_winners_are_the_largest_in_order_and_ties_go_to_the_lowest_index():
    asked = question(mechanism=False, winners=2)
    assert central._winners(asked, np.array([1.0, 1.0]), np.random.default_rng(0)).tolist() == [0, 1]
    assert central._winners(asked, np.array([1.0, 2.0]), np.random.default_rng(0)).tolist() == [1, 0]
