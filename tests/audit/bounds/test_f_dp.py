"""The f-DP recursion against the linear programme it solves, one run's bound, and releases of known μ."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from fedgenome.audit.bounds import f_dp, one_run
from fedgenome.audit.bounds.one_run import Guesses
from fedgenome.audit.bounds.tradeoffs import approximate, epsilon_of, gaussian
from fedgenome.errors import SpecError


@st.composite
def guesses(draw):
    m = draw(st.integers(1, 40))
    r = draw(st.integers(1, m))
    return Guesses(canaries=m, made=r, right=draw(st.integers(0, r)))


def _programme(seen, epsilon, delta, candidates):
    """Return the largest P[v or more right] that the constraints on p_0 … p_r leave, by linear programming.

    (k − 1)·curve is the larger of three lines, so that each t gives linear constraints.
    """
    m, r, v, k = seen.canaries, seen.made, seen.right, candidates
    s = np.arange(r + 1)
    rows, ends = [], []
    for t in range(1, v + 1):
        right, wrong = np.where(s >= t, s / m, 0), np.where(s >= t - 1, (r - s) / m, 0)
        for slope, start in (
            (np.exp(-epsilon), -delta * np.exp(-epsilon)),
            (np.exp(epsilon), 1 - delta - np.exp(epsilon)),
        ):
            rows.append((k - 1) * slope * right - wrong)
            ends.append(-(k - 1) * start)
    best = optimize.linprog(-(s >= v).astype(float), np.array(rows) if rows else None, ends or None, [s >= 0], [1.0])
    return -best.fun


@settings(max_examples=40)
@given(guesses(), st.floats(0, 2), st.sampled_from([0.0, 1e-3]), st.integers(2, 4))
def test_p_value_is_the_optimum_of_the_linear_programme(seen, epsilon, delta, candidates):
    mine = f_dp.p_value(seen, approximate(epsilon, delta), candidates)
    # The solver meets its constraints to 1e-7, which is what it can be off where p is small.
    assert mine == pytest.approx(_programme(seen, epsilon, delta, candidates), rel=1e-4, abs=1e-7)


def test_p_value_of_guesses_that_are_all_right_is_the_chance_that_randomised_response_has_them():
    seen = Guesses(canaries=29, made=29, right=29)
    right = np.exp(0.0625) / (1 + np.exp(0.0625))
    assert f_dp.p_value(seen, approximate(0.0625, 0.0), 2) == pytest.approx(right**29, rel=1e-6)


@settings(max_examples=40)
@given(guesses(), st.floats(0, 3), st.integers(2, 4))
def test_p_value_falls_with_right_guesses_and_grows_with_mu(seen, mu, candidates):
    here = f_dp.p_value(seen, gaussian(mu), candidates)
    assert f_dp.p_value(seen, gaussian(mu + 0.5), candidates) >= here * (1 - 1e-5)
    if seen.right < seen.made:
        better = Guesses(canaries=seen.canaries, made=seen.made, right=seen.right + 1)
        assert f_dp.p_value(better, gaussian(mu), candidates) <= here * (1 + 1e-5)


@given(st.integers(2, 5), st.integers(1, 30))
def test_right_guesses_at_chance_refute_nothing(candidates, share):
    seen = Guesses(canaries=500, made=candidates * share, right=share)
    assert f_dp.gaussian_epsilon(seen, 1e-5, candidates=candidates).epsilon == 0
    assert f_dp.approximate_epsilon(seen, 1e-5, candidates=candidates).epsilon == 0


@given(guesses())
def test_pure_dp_is_refuted_about_as_by_the_binomial_tail(seen):
    """The recursion is never tighter than the exact tail of randomised response, which attains it."""
    tail = one_run.p_value(seen, 1.0, 0.0)
    assert f_dp.p_value(seen, approximate(1.0, 0.0)) >= tail * (1 - 1e-5)


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "pin"), [(1000, 100, 75, 1e-4, 0.84172), (100_000, 1510, 1439, 1e-5, 3.30908)]
)
def test_gaussian_bound_is_tighter_than_one_runs_at_its_pins(m, r, v, delta, pin):
    seen = Guesses(canaries=m, made=r, right=v)
    found = f_dp.gaussian_epsilon(seen, delta)
    assert found.epsilon == pytest.approx(pin, abs=1e-5)
    assert found.epsilon > 1.2 * one_run.epsilon(seen, delta).epsilon
    assert found.epsilon == epsilon_of(found.mu, delta)
    assert f_dp.approximate_epsilon(seen, delta).epsilon > one_run.epsilon(seen, delta).epsilon


ALLOWED = 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5  # a sound bound exceeds it once in 700 such tests


def _releases(mu, repetitions=300, canaries=1000):
    """Yield guesses of 200 coins where every canary's coin was released with Gaussian noise of 1/``mu``."""
    rng = np.random.default_rng(10)
    for _ in range(repetitions):
        coins = rng.random(canaries) < 0.5
        yield one_run.guess(rng.normal(0, 1, canaries) + mu * coins, coins, 100, 100)


def test_gaussian_mechanism_is_refuted_as_seldom_as_it_says_and_one_of_half_the_noise_nearly_always():
    refuted = {mu: np.mean([f_dp.refuted(each, gaussian(1.0), 0.05) for each in _releases(mu)]) for mu in (1.0, 2.0)}
    assert refuted[1.0] <= ALLOWED
    assert refuted[2.0] > 0.9


def test_three_candidates_are_at_chance_a_third_of_the_time():
    """Nothing leaked, then .45 right, which is below the chance of two candidates and seen only by counting three."""
    rng = np.random.default_rng(11)

    def refuted(rate, k):
        tries = (Guesses(canaries=300, made=300, right=int(v)) for v in rng.binomial(300, rate, 300))
        return np.mean([f_dp.refuted(each, gaussian(0.0), 0.05, k) for each in tries])

    assert refuted(1 / 3, 3) <= ALLOWED
    assert refuted(0.45, 3) > 0.9
    assert refuted(0.45, 2) == 0


def test_one_candidate_is_refused_and_no_guess_refutes_nothing():
    with pytest.raises(SpecError, match="candidates >= 2, got candidates=1"):
        f_dp.refuted(Guesses(canaries=1, made=1, right=1), gaussian(0.0), 0.05, 1)
    none = Guesses(canaries=5, made=0, right=0)
    assert f_dp.p_value(none, gaussian(0.0)) == 1
    assert f_dp.gaussian_epsilon(none, 1e-5).epsilon == 0
