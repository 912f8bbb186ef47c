"""DP-SGD on DeepType: what its noise costs, what its clip norm does, on whom options are chosen, what is paid."""

import functools
import math

import numpy as np
import pytest
from scipy import special, stats

from experiments.cells import Cache
from experiments.deeptype import choosing, folds, grid, learned, people, prices, tuned
from experiments.deeptype.people import GROUP
from experiments.deeptype.prices import Steps
from fedgenome.privacy import accounting
from fedgenome.study import Plan

TABLE = {1.0: "45.98", 0.1: "255130", 0.01: "65580612"}
PUBLISHED = functools.partial(Steps.of, rows=1536, batch=64, epochs=500)


@pytest.mark.parametrize("sigma", TABLE)
def test_the_printed_epsilon_to_the_printed_digit(sigma):
    found, order = prices.printed(PUBLISHED(sigma))
    assert f"{found:.12f}".startswith(TABLE[sigma]) and order == (1.8 if sigma == 1 else 1.1)


@pytest.mark.parametrize("order", [2, 7, 30])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 4.0])
def test_the_integral_is_the_binomial_sum_of_whole_orders(sigma, order):
    """Mironov, Talwar & Zhang 2019, section 3.3."""
    q, k = 0.04, np.arange(order + 1)
    terms = (
        np.log(special.binom(order, k)) + k * math.log(q) + (order - k) * math.log1p(-q) + k * (k - 1) / 2 / sigma**2
    )
    steps = Steps(sigma=sigma, sampling=q, count=1)
    assert prices.divergence(steps, order) == pytest.approx(special.logsumexp(terms) / (order - 1), rel=1e-9)


@pytest.mark.parametrize("sigma", [0.1, 0.01])
def test_with_little_noise_epsilon_is_the_tail_of_the_losses_and_not_what_was_printed(sigma):
    """The loss of 12,000 steps is normal to a per cent, and ε at δ = 1e-5 where its tail begins."""
    steps = PUBLISHED(sigma)
    rng = np.random.default_rng(5)
    z = sigma * rng.standard_normal(400_000) + (rng.random(400_000) < steps.sampling)
    loss = np.logaddexp(math.log1p(-steps.sampling), math.log(steps.sampling) + (2 * z - 1) / (2 * sigma**2))
    normal = steps.count * loss.mean() + stats.norm.isf(prices.DELTA) * math.sqrt(steps.count) * loss.std()
    found = prices.tight(steps)
    assert found == pytest.approx(normal, rel=0.03) and prices.printed(steps)[0] > 5 * found


def said(clip, sigma, optimiser="adam"):
    who = people.simulated(30, 300)
    cell = grid.Cell(cohort=people.SIMULATED, optimiser=optimiser, sigma=sigma, clip=clip, epochs=10, small=True)
    return grid.logits(cell, who, who.inside(1, 0)[:2])


def test_adam_divides_the_clip_norm_out_where_all_rows_are_clipped():
    """Ten times the clip norm: no change where it binds; where it does not it is ten times the noise."""
    bound, free = (np.abs(said(clip, 1.0) - said(10 * clip, 1.0)).max() for clip in (1e-3, 30.0))
    assert 20 * bound < free


def test_a_published_clip_norm_keeps_plain_descent_near_its_start():
    start, held, free = (said(clip, 0.01, name) for clip, name in ((0.1, "start"), (0.1, "sgd"), (1e3, "sgd")))
    assert np.abs(held - start).max() < 0.02 < np.abs(free - start).max()
    assert (held.argmax(2) == start.argmax(2)).mean() > 0.95


def test_options_are_chosen_on_people_whom_no_row_is_about():
    who, reported = choosing.stand_in(people.SIMULATED, quick=True), people.simulated(40, 800)
    assert who.x.shape == reported.x.shape and not np.isin(who.x[:, 0], reported.x[:, 0]).any()
    panel = choosing.stand_in(people.METABRIC, quick=True)
    assert panel.x.shape == who.x.shape and len(panel.schema.genes) == 40
    assert choosing._telling(panel).min() > np.median(choosing._telling(who))


def test_a_level_is_of_its_epsilon_and_options():
    who = people.simulated(30, 300)
    for options in (choosing.START, choosing.START | {"joint": 0.5, "centres": "charged"}):
        made = learned.method(options, who.schema, 300, 46.0)
        cost = accounting.epsilon(Plan(mechanisms=made.plan(made.noise)), learned.DELTA)
        assert 45.5 < cost <= 46


def test_a_model_knows_no_more_of_those_left_out_than_it_paid_for():
    """Other values of theirs leave the model, and paid or unpaid standardisation, as it was."""
    who = people.simulated(30, 300)
    inside = who.inside(1, 0)[0]
    moved = people.People(
        name=who.name,
        x=np.where(inside[:, None], who.x, 1 - who.x),
        label=who.label,
        owner=who.owner,
        schema=who.schema,
    )
    made = learned.method({"rounds": 5, "hidden": [8, 8]}, who.schema, 300, 46.0)
    for seen, other in ((who, moved), (learned.standardised(who, inside), learned.standardised(moved, inside))):
        one, two = (learned.logits(made, each, inside, 3) for each in (seen, other))
        np.testing.assert_array_equal(one[inside], two[inside])
        assert not np.array_equal(one[~inside], two[~inside])
    mean = learned.standardised(who, inside).x[inside].mean(0)
    np.testing.assert_allclose(mean, 0.5, atol=0.01)


def test_what_a_model_says_is_what_it_predicts():
    who = people.simulated(30, 300)
    inside = who.inside(1, 0)[0]
    made = learned.method({"rounds": 20}, who.schema, 300, 46.0, "linear")
    arrays = learned.loop.trained(made, learned.shard(who, inside), 0)
    said = learned.told(made, arrays, who)
    np.testing.assert_array_equal(said.argmax(1), made.predict(arrays, learned.raw(who)))
    np.testing.assert_allclose(np.exp(said).sum(1), 1, rtol=1e-5)


def test_differences_are_of_the_same_folds():
    """Folds that differ by .2 from each other and by .01 between arms: a paired interval sees it."""
    each = np.array([0.4, 0.6, 0.5, 0.7, 0.3])
    found = folds.apart("less x", (each + 0.01 + np.array([1, -1, 0, 1, -1]) * 1e-3).tolist(), each.tolist())
    assert 0 < found["accuracy less x low"] < 0.01 < found["accuracy less x high"] < 0.02


def test_every_row_says_whether_everything_is_paid_and_by_what():
    kept = Cache.load(None)
    rows = grid.rows(people.SIMULATED, True, str, kept) + tuned.rows(people.SIMULATED, True, str, kept)
    paid = {row["arm"]: row["everything paid"] for row in rows}
    assert paid == {f"{grid.ARM}, Adam": "no", f"{grid.ARM}, SGD": "no", tuned.DEEPTYPE: "yes", tuned.LINEAR: "yes"}
    assert all(row["seeds"] == GROUP and row["epsilon"] > 0 and 0 < row["majority"] < 1 for row in rows)
    assert any("accuracy less Table I's low" in row for row in rows)
    assert len(list(tuned.targets(rows))) == 1
