"""A site's own noise: as much as is claimed, fresh for every query, step and site; and its broken twins.

Checks of spread and of dependence look at N draws and alarm falsely less than once in 100,000 (4.5 standard
deviations, two-sided).
"""

from dataclasses import replace

import numpy as np
import pytest

from fedgenome.errors import SpecError
from fedgenome.federation.home import Steps, begin_noise
from fedgenome.privacy.clipping import sum_rows, sum_scores
from fedgenome.query import Mechanism, Query, Question, choose_scale
from fedgenome.secure import noise, ring
from fedgenome.streams import Root
from tests.federation.small import make_shard, make_study
from tests.federation.test_site import ask, join, make_plan, query_of

N = 20_000
FIRM = 4.5
HOME = Mechanism(kind="gaussian", level=3.0, where="home", sampling=0.5, count=4)
TERMS = make_study("local").terms(make_plan(make_study("local")))


def query(unit="donor", step=0, attempt=0, **mechanism):
    form = replace(HOME.form if unit == "donor" else HOME, **mechanism)
    question = Question(payload={}, length=N, reply_length=N, bound=2.0, mechanism=form, unit=unit)
    when = {"study": "", "run": "", "method": "m", "step": step, "attempt": attempt}
    return Query(question=question, terms=TERMS, scale=choose_scale(question, TERMS), **when)


def moment(asked):
    return (asked.method, asked.step, asked.attempt)


def add_noise(words, asked, root, when):
    begin_noise(asked, root, when).add_to(words)


def drawn(asked=None, root=None, noiser=add_noise, when=moment):
    """Return a query's noise at home in units of its σ."""
    asked = asked or query()
    words = np.zeros(N, ring.dtype_of(asked.width))
    noiser(words, asked, root or Root.simulation(1, "site", "north"), when(asked))
    return ring.signed(words) / asked.sigma_home


def spread(noise):
    """Return how far a variance is from 1, in standard deviations of its estimate."""
    return (np.mean(noise**2) - 1) / np.sqrt(2 / noise.size)


def alike(a, b):
    """Return how far two noises are from independent, in standard deviations."""
    return float(a @ b) / np.sqrt(a.size)


# ---- How much ----------------------------------------------------------------------------------------------


def too_quiet(words, asked, root, when):
    less = replace(asked.question.mechanism, level=0.7 * asked.question.mechanism.level)
    add_noise(words, replace(asked, question=replace(asked.question, mechanism=less)), root, when)


def test_home_noise_has_all_of_sigma():
    noise = drawn()
    assert abs(spread(noise)) < FIRM and abs(noise.mean()) < FIRM / np.sqrt(N)


def test_noise_of_seven_tenths_is_caught():
    assert spread(drawn(noiser=too_quiet)) < -FIRM


def test_home_noise_reaches_neighbouring_integers():
    asked = query()
    words = np.zeros(N, ring.dtype_of(asked.width))
    add_noise(words, asked, Root.secret(), moment(asked))
    assert set(np.unique(ring.signed(words) % 8)) == set(range(8))  # no coarser lattice


def test_two_sites_leave_twice_the_variance_of_one():
    noise = drawn() + drawn(root=Root.simulation(1, "site", "south"))
    assert abs(spread(noise / np.sqrt(2))) < FIRM


# ---- How fresh ---------------------------------------------------------------------------------------------


def without_attempt(asked):
    return (asked.method, asked.step)


def test_noise_is_fresh_after_a_resume_and_at_every_step():
    first, retried, later = drawn(), drawn(query(attempt=1)), drawn(query(step=1))
    assert max(abs(alike(first, retried)), abs(alike(first, later))) < FIRM


def test_noise_reused_after_a_resume_is_caught():
    first, retried = drawn(when=without_attempt), drawn(query(attempt=1), when=without_attempt)
    assert alike(first, retried) > FIRM


def test_noise_of_two_sites_is_independent_and_a_shared_seed_is_caught():
    here, there = (Root.simulation(1, "site", name) for name in ("north", "south"))
    assert abs(alike(drawn(root=here), drawn(root=there))) < FIRM
    assert alike(drawn(root=here), drawn(root=here)) > FIRM


def noise_sent(agent, attempts, when=None):
    """Return the noise in a site's plain answers to so many attempts, in units of σ."""
    study = make_study("local", secure="off", privacy={"trust": "local", "epsilon": 9.0, "delta": 1e-3, "retries": 1.0})
    site, exact = agent(study), exact_sum(study)
    join(site, study, keys=[])
    asked = [query_of(study, attempt=k) for k in range(attempts)]
    sums = [ring.signed(ask(site, each).arrays["sum"]) for each in asked]
    return [(total - np.rint(exact * asked[0].scale)) / asked[0].sigma_home for total in sums]


def exact_sum(study):
    asked = query_of(make_study("none", secure="off"))
    from fedgenome.methods import registry

    return registry.build_all(study)["marginals"].answer(asked.question, make_shard(20), None).value


def test_site_sends_its_sum_with_fresh_noise_at_each_attempt(agent):
    first, second = noise_sent(agent, 2)
    fresh = (first - second) / np.sqrt(2)
    assert all(abs(spread(noise)) < FIRM and np.ptp(noise) > 1 for noise in (first, second, fresh))


# ---- Local training ----------------------------------------------------------------------------------------


def bounded(bound):
    """Return an answer of zeros that carries this bound."""
    return lambda sample, draws: sum_rows(np.zeros((1, N)), np.zeros(1, int), np.ones(1, bool), bound)


nothing = bounded(2.0)


def steps(shard=None, asked=None, made=Steps):
    asked = asked or query("site")
    return made(asked, shard or make_shard(20), Root.simulation(1, "site", "north"), moment(asked))


class SkipsEmpty(Steps):
    def noisy_sum(self, answer):
        seen = []
        noised = super().noisy_sum(lambda sample, draws: (seen.append(sample.n_donors), answer(sample, draws))[1])
        return noised if seen[0] else np.zeros(N)


def test_every_step_is_noised_in_full_and_afresh():
    training = steps()
    first, second = (training.noisy_sum(nothing) / (3.0 * 2.0) for _ in range(2))
    assert max(abs(spread(first)), abs(spread(second)), abs(alike(first, second))) < FIRM


@pytest.mark.parametrize(("made", "noised"), [(Steps, True), (SkipsEmpty, False)])
def test_an_empty_sample_is_noised_like_any_other_and_a_twin_that_skips_it_is_caught(made, noised):
    noise = steps(make_shard(0), made=made).noisy_sum(nothing) / (3.0 * 2.0)
    assert (abs(spread(noise)) < FIRM) == noised


def test_noise_grows_with_the_bound_that_the_clipped_sum_carries():
    wide = steps().noisy_sum(bounded(20.0))
    assert abs(spread(wide / (3.0 * 20.0))) < FIRM


def in_turn(asked, step, bound):
    """Return a step's noise as a site without a second thread draws it."""
    inner = replace(asked.question, bound=bound, mechanism=HOME.form, unit="donor", precision="float64")
    inner = replace(asked, question=inner, scale=choose_scale(inner, TERMS))
    stream = Root.simulation(1, "site", "north").stream(*moment(asked), "local", step, "noise")
    return noise.sampler(inner.sigma_home).draw(N, stream) / inner.scale


def test_noise_drawn_ahead_is_the_steps_own_whatever_the_bound_before():
    asked, bounds = query("site"), [2.0, 2.0, 20.0, 2.0]
    training = steps(asked=asked)
    found = [training.noisy_sum(bounded(bound)) for bound in bounds]
    right = [in_turn(asked, step, bound) for step, bound in enumerate(bounds)]
    assert [noised.tobytes() for noised in found] == [noised.tobytes() for noised in right]


class Unsure:
    """A sum that says it is bounded as expected: what a site would see that never throws noise away."""

    def __init__(self, bound):
        self.value, self.bound, self.norm = np.zeros(N), bound, "l2"

    def suits(self, question):
        return True


@pytest.mark.parametrize(("second", "enough"), [(bounded(20.0), True), (lambda sample, draws: Unsure(20.0), False)])
def test_noise_drawn_for_a_smaller_bound_is_thrown_away_and_a_twin_that_keeps_it_is_caught(second, enough):
    training = steps()
    training.noisy_sum(bounded(2.0))
    assert (abs(spread(training.noisy_sum(second) / (3.0 * 20.0))) < FIRM) == enough


def test_scores_are_not_noised_as_if_they_were_clipped_in_l2():
    with pytest.raises(SpecError, match="expected a sum clipped in L2, got norm='max'"):
        steps().noisy_sum(lambda sample, draws: sum_scores(np.zeros((1, N)), np.zeros(1, int), np.ones(1, bool), 2.0))


def test_samples_of_the_steps_differ_and_hold_each_donor_half_the_time():
    sizes, training = [], steps(make_shard(20), query("site", count=200))
    for _ in range(200):
        training.noisy_sum(lambda sample, draws: (sizes.append(sample.donors), nothing(sample, draws))[1])
    assert len(set(sizes)) > 190
    assert abs(sum(map(len, sizes)) - 2000) < FIRM * np.sqrt(200 * 20 / 4)


def test_no_more_steps_than_are_paid_for():
    training = steps(asked=query("site", count=2))
    training.noisy_sum(nothing), training.noisy_sum(nothing)
    with pytest.raises(SpecError, match="no more local steps than are paid for"):
        training.noisy_sum(nothing)


def test_without_noise_at_home_a_step_is_the_exact_sum_over_the_shard():
    asked = query("site", where="parties", sampling=1.0, count=1)
    seen = []
    total = steps(asked=asked).noisy_sum(
        lambda sample, draws: (seen.append(sample.n_donors), nothing(sample, draws))[1]
    )
    assert seen == [20] and not total.any()
