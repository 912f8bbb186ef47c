"""One run's bound: published values, the paper's sums written out, its level where many numbers are tried."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedgenome.audit.bounds import one_run
from fedgenome.audit.bounds.one_run import Guesses, best, epsilon, guess, p_value
from fedgenome.errors import SpecError


@st.composite
def guesses(draw, most=60):
    m = draw(st.integers(1, most))
    r = draw(st.integers(0, m))
    return Guesses(canaries=m, made=r, right=draw(st.integers(0, r)))


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "pin"),
    [(1000, 100, 75, 1e-4, 0.67298), (100_000, 1510, 1439, 1e-5, 2.67585)],
    ids=["appendix D", "section 7"],
)
def test_published_bounds_come_out(m, r, v, delta, pin):
    assert epsilon(Guesses(canaries=m, made=r, right=v), delta).epsilon == pytest.approx(pin, abs=1e-5)


@settings(max_examples=40)
@given(guesses(25), st.floats(0, 3), st.sampled_from([0.0, 1e-4, 1e-2]))
def test_p_value_is_the_papers_sum_written_out(seen, eps, delta):
    law = stats.binom.pmf(np.arange(seen.made + 1), seen.made, 1 / (1 + np.exp(-eps)))
    beta = sum(law[seen.right :])
    windows = [sum(law[seen.right - i : seen.right]) / i for i in range(1, seen.right + 1)]
    expected = min(1, beta + 2 * seen.canaries * delta * max(windows, default=0))
    assert p_value(seen, eps, delta) == pytest.approx(expected, abs=1e-12)


@given(guesses(), st.floats(0, 5), st.floats(0, 2), st.sampled_from([0.0, 1e-5, 1e-3]))
def test_below_a_half_the_p_value_grows_with_epsilon_and_falls_with_right_guesses(seen, eps, more, delta):
    here, larger = (min(0.5, p_value(seen, each, delta)) for each in (eps, eps + more))
    assert larger >= here - 1e-12
    if seen.right < seen.made:
        better = Guesses(canaries=seen.canaries, made=seen.made, right=seen.right + 1)
        assert min(0.5, p_value(better, eps, delta)) <= here + 1e-12


@given(guesses(), st.sampled_from([0.0, 1e-4]))
def test_bound_grows_with_right_guesses_and_falls_with_confidence(seen, delta):
    here = epsilon(seen, delta).epsilon
    assert epsilon(seen, delta, level=0.99).epsilon <= here
    assert (
        seen.right == seen.made
        or here <= epsilon(Guesses(canaries=seen.canaries, made=seen.made, right=seen.right + 1), delta).epsilon
    )


@given(st.integers(0, 200))
def test_half_of_the_guesses_right_refutes_nothing(half):
    seen = Guesses(canaries=500, made=2 * half, right=half)
    assert epsilon(seen, 1e-5).epsilon == 0


def test_guesses_are_of_the_highest_as_in_and_the_lowest_as_out():
    scores, coins = np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False, True])
    assert guess(scores, coins, highest=2, lowest=2) == Guesses(canaries=5, made=4, right=2)
    assert guess(scores, coins, highest=5) == Guesses(canaries=5, made=5, right=3)


@given(st.integers(1, 30), st.data())
def test_tied_scores_count_the_wrong_guesses_first_whatever_their_order(members, data):
    coins = np.arange(60) < members
    highest = data.draw(st.integers(0, 60))
    assert guess(np.zeros(60), coins, highest).right == max(0, highest - (60 - members))


@given(st.integers(0, 2**32), st.integers(0, 20), st.integers(0, 20))
def test_guessing_is_a_stable_sort_where_no_scores_tie(seed, highest, lowest):
    rng = np.random.default_rng(seed)
    scores, coins = rng.permutation(40), rng.random(40) < 0.5
    order = np.argsort(-scores)
    right = coins[order[:highest]].sum() + (~coins[order[40 - lowest :]]).sum()
    assert guess(scores, coins, highest, lowest).right == right


def _searches(repetitions, m=200):
    """Yield guesses of coins that the scores do not know, at √m × √m numbers of guesses."""
    rng = np.random.default_rng(8)
    steps = range(0, m + 1, round(m**0.5))
    pairs = [(high, low) for high, low in itertools.product(steps, steps) if 0 < high + low <= m]
    for _ in range(repetitions):
        scores, coins = rng.random(m), rng.random(m) < 0.5
        yield [guess(scores, coins, *pair) for pair in pairs]


def test_best_of_many_numbers_of_guesses_keeps_its_level_and_the_unpaid_search_does_not():
    """150 audits of a model that saw nothing: at most 5 % + 3 standard errors report ε > 0; unpaid over a quarter."""
    paid, unpaid = np.mean(
        [(best(tries, 0.0).epsilon > 0, any(p_value(one, 0, 0) < 0.05 for one in tries)) for tries in _searches(150)], 0
    )
    assert paid <= 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5
    assert unpaid > 0.25


@pytest.mark.parametrize("eps", [0.0, 1.0])
def test_bound_exceeds_the_epsilon_of_randomised_response_as_seldom_as_it_says(eps):
    """2,000 releases of noisy coins. Two-sided: not above 5 % + 4 standard errors, and a tenth less ε is refuted."""
    rng = np.random.default_rng(9)
    right = rng.binomial(400, 1 / (1 + np.exp(-eps)), 2000)
    ends = {v: epsilon(Guesses(canaries=400, made=400, right=int(v)), 0.0).epsilon for v in np.unique(right)}
    above = np.mean([ends[v] > eps for v in right])
    assert 0.05 - 4 * (0.05 * 0.95 / 2000) ** 0.5 - 0.02 < above <= 0.05 + 4 * (0.05 * 0.95 / 2000) ** 0.5
    stronger = rng.binomial(400, 1 / (1 + np.exp(-eps - 0.6)), 200)
    assert np.mean([epsilon(Guesses(canaries=400, made=400, right=int(v)), 0.0).epsilon > eps for v in stronger]) > 0.9


def test_best_of_one_is_the_bound_and_says_what_was_tried():
    seen = Guesses(canaries=100, made=50, right=45)
    assert best([seen], 1e-5).epsilon == pytest.approx(epsilon(seen, 1e-5).epsilon, abs=1e-9)
    assert best([seen, seen], 1e-5).method == "one run (Steinke et al. 2023), Bonferroni over 2 numbers of guesses"
    assert best([seen, seen], 1e-5).epsilon < epsilon(seen, 1e-5).epsilon


def test_impossible_guesses_are_refused():
    with pytest.raises(SpecError, match=r"right <= made <= canaries .*got right=5, made=4"):
        Guesses(canaries=10, made=4, right=5)
    with pytest.raises(SpecError, match="as many guesses as canaries, at most, got highest=3, lowest=1"):
        guess(np.zeros(3), np.zeros(3, bool), 3, 1)
    with pytest.raises(SpecError, match="at least one number of guesses"):
        one_run.best([], 0.0)


def test_detectable_share_is_detected_in_eight_of_ten_audits_and_one_guess_fewer_would_not_be():
    """Exactly: the binomial tail from the fewest right guesses that refute ε = 0."""
    share = one_run.detectable(1000, 100, 1e-5)
    refuting = [v for v in range(101) if p_value(Guesses(canaries=1000, made=100, right=v), 0.0, 1e-5) < 1 - 0.95]
    assert stats.binom.sf(refuting[0] - 1, 100, share) == pytest.approx(0.8)
    assert 0.5 < share < 0.75


def test_too_few_guesses_detect_nothing():
    assert one_run.detectable(1000, 4, 0.0) == 1
    assert one_run.detectable(1000, 0, 0.0) == 1
    assert one_run.detectable(1000, 5, 0.0) < 1
