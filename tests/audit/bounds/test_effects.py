import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedgenome.audit.bounds import effects, one_run
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.bounds.one_run import Guesses
from fedgenome.errors import SpecError

TAILS = effects.tails_for(1)


@st.composite
def counts(draw):
    m, n = draw(st.integers(1, 80)), draw(st.integers(1, 80))
    hits, alarms = draw(st.integers(0, m)), draw(st.integers(0, n))
    return Counts(hits=hits, members=m, false_alarms=alarms, controls=n)


@settings(max_examples=50)
@given(counts(), st.sampled_from([effects.advantage, effects.residual]))
def test_effects_of_rates_lie_between_their_ends_and_fisher_says_how_likely(seen, kind):
    effect = kind("v", seen, TAILS)
    table = [[seen.hits, seen.members - seen.hits], [seen.false_alarms, seen.controls - seen.false_alarms]]
    assert 0 <= effect.low <= effect.estimate <= effect.high <= 1
    assert effect.p_value == pytest.approx(stats.fisher_exact(table, "greater").pvalue)


def test_residual_is_one_where_all_is_recited_and_takes_off_what_can_be_guessed():
    recited = effects.residual("v", Counts(hits=50, members=50, false_alarms=20, controls=50), TAILS)
    guessed = effects.residual("v", Counts(hits=20, members=50, false_alarms=20, controls=50), TAILS)
    half = effects.residual("v", Counts(hits=35, members=50, false_alarms=20, controls=50), TAILS)
    assert (recited.estimate, guessed.estimate, guessed.low) == (1, 0, 0)
    assert half.estimate == pytest.approx((0.7 - 0.4) / 0.6)


@settings(max_examples=40)
@given(st.integers(1, 100), st.data())
def test_guessing_is_the_accuracy_above_chance_and_ends_at_what_is_refuted(made, data):
    seen = Guesses(canaries=200, made=made, right=data.draw(st.integers(0, made)))
    effect = effects.guessing("v", seen, 1e-5, TAILS)
    assert effect.estimate == max(0, 2 * seen.right / made - 1)
    assert effect.low == pytest.approx(math.tanh(one_run.epsilon(seen, 1e-5).epsilon / 2))
    assert effect.low <= effect.estimate <= effect.high
    assert effect.p_value == one_run.p_value(seen, 0.0, 1e-5)


def test_ranking_is_zero_at_chance_and_one_where_planted_scores_are_all_above():
    rng = np.random.default_rng(0)
    alike = effects.ranking("v", rng.normal(size=200), rng.normal(size=200), TAILS)
    apart = effects.ranking("v", rng.normal(20, 1, 200), rng.normal(size=200), TAILS)
    assert alike.low == 0 and alike.high < 0.3
    assert apart.estimate == 1 and apart.low > 0.9 and apart.p_value < 1e-6


def test_standing_out_takes_off_what_chance_gives():
    bits = np.array([6.0] * 30 + [0.5] * 70)
    effect = effects.stands_out("v", bits, 5.0, TAILS)
    assert effect.estimate == pytest.approx(0.3 - 2**-5)
    assert effect.p_value == pytest.approx(stats.binomtest(30, 100, 2**-5, "greater").pvalue)


def test_largest_exposure_of_fifty_canaries_is_near_its_ceiling_without_any_leak():
    """Why no effect is a maximum: .81 of log2(100 references) on average, 400 draws, within .02."""
    rng = np.random.default_rng(1)
    highest = [math.log2(100 / (1 + (rng.random(100) <= rng.random(50).min()).sum())) for _ in range(400)]
    assert np.mean(highest) / math.log2(100) == pytest.approx(0.81, abs=0.02)


def test_lower_ends_share_the_error_and_upper_ends_do_not():
    assert effects.tails_for(5, 0.95) == effects.Tails(low=pytest.approx(0.01), high=pytest.approx(0.05))
    with pytest.raises(SpecError, match="vectors >= 1, got vectors=0"):
        effects.tails_for(0)
