"""Preludes: what they learn, that they are charged apart, and that a method behind them is none the wiser."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.methods.quantile_clip import QuantileClip
from fedgenome.methods.standardise import Standardise
from fedgenome.privacy.coins import DonorNormals
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema

SCHEMA = Schema(genes=("A", "B", "C"), labels=("x", "y"), low=-1.0, high=5.0, unit="donor")
CENTRE, SCALE = np.array([0.5, 1.0, 3.0]), np.array([0.2, 0.5, 0.4])
DRAWS = DonorNormals(Root.simulation(3, "preludes"), ("m", 0, 0))


def shard(donors=400, seed=0):
    rng = np.random.default_rng(seed)
    return Shard(
        x=(CENTRE + SCALE * rng.standard_normal((donors, 3))).astype(np.float32),
        label=rng.integers(0, 2, donors),
        donor=np.arange(donors),
        donors=tuple(f"donor-{i}" for i in range(donors)),
        mask=np.ones(donors, bool),
    )


def build(noise=1.0, **options):
    given = {"hidden": 4, "latent": 2, "rounds": 3, "sampling": 0.5} | options
    return registry.build(MethodSpec(kind="cvae", options=given), SCHEMA, 500, True).at(noise)


def learned(method, rows, deviation=0.0):
    """Ask the prelude alone; return the state after it."""
    state, rng = method.start(np.random.default_rng(1)), np.random.default_rng(2)
    question = method.ask(state)
    total = method.answer(question, rows, DRAWS).value
    return question, method.learn(state, question, total + rng.normal(0, deviation, total.shape))


# ---- Centre and scale


def test_centre_and_scale_of_each_gene_are_those_of_the_donors():
    rows = shard()
    _, state = learned(build(normalise="gene"), rows)
    centre, scale = 2 + 3 * state["standardise.centre"], 3 * state["standardise.scale"]
    np.testing.assert_allclose(centre, rows.x.mean(0), atol=1e-6)
    np.testing.assert_allclose(scale, rows.x.std(0), atol=1e-5)


def test_global_centre_and_scale_are_those_of_all_values():
    rows = shard()
    _, state = learned(build(normalise="global"), rows)
    np.testing.assert_allclose(2 + 3 * state["standardise.centre"], np.full(3, rows.x.mean()), atol=1e-6)
    np.testing.assert_allclose(3 * state["standardise.scale"], np.full(3, rows.x.std()), atol=1e-5)


def test_noise_at_the_planned_scale_hardly_moves_a_global_centre():
    question, state = learned(build(normalise="global"), shard(), deviation=2 * math.sqrt(3))
    assert question.mechanism.level == 2.0 and question.bound == math.sqrt(3)
    assert abs(3 * state["standardise.centre"][0] + 2 - 1.5) < 0.1


@pytest.mark.parametrize("total", [np.zeros(7), np.full(7, -1e9), np.full(7, 1e9)])
def test_sums_of_nothing_but_noise_give_a_usable_centre_and_scale(total):
    told = Standardise(schema=SCHEMA, by="gene").learn(total)
    assert (np.abs(told["centre"]) <= 1).all() and (told["scale"] >= 0.05).all() and (told["scale"] <= 1).all()


def test_method_sees_standard_values_and_shows_public_ones():
    rows = shard()
    _, state = learned(build(normalise="gene"), rows)
    prelude, told = Standardise(schema=SCHEMA, by="gene"), {n: state[f"standardise.{n}"] for n in ("centre", "scale")}
    seen = prelude.seen(rows.x, told)
    np.testing.assert_allclose(seen.mean(0), 2, atol=0.02)  # the middle of the range
    np.testing.assert_allclose(seen.std(0), 1, atol=0.02)  # a third of half of it
    kept = (np.abs(seen - 2) < 3).all(1)
    np.testing.assert_allclose(prelude.shown(seen, told)[kept], rows.x[kept], atol=1e-5)


@pytest.mark.parametrize(("centre", "scale"), [(0.0, 0.0), (np.nan, 1.0), (1e300, 1e-300), (0.0, -1.0)])
def test_crafted_centre_and_scale_leave_values_in_the_range_or_nan(centre, scale):
    told = {"centre": np.full(3, centre), "scale": np.full(3, scale)}
    seen = Standardise(schema=SCHEMA, by="gene").seen(shard(50).x, told)
    inside = (seen >= SCHEMA.low) & (seen <= SCHEMA.high)
    assert (inside | np.isnan(seen)).all()


# ---- Clip norm by quantile


def norms_of(method, question, rows):
    """Return each donor's own norm, by asking for it alone without a clip."""
    loose = replace(question, bound=1e9)
    one = np.arange(rows.n_donors)
    return np.array([np.linalg.norm(method.answer(loose, rows.take(one == d), DRAWS).value) for d in one])


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_clip_is_the_smallest_public_norm_that_the_quantile_of_donors_stays_under(quantile):
    rows, method = shard(60), build(clip_quantile=quantile, clip=16.0)
    plain = build()
    gradients = plain.ask(plain.start(np.random.default_rng(1)) | {"step": np.array(1)})
    norms, levels = norms_of(plain, gradients, rows), QuantileClip(middle=16.0, quantile=0.5, sampling=1.0).norms
    assert levels[0] < norms.min() and norms.max() < levels[-1]
    wanted = levels[np.argmax([(norms <= level).mean() >= quantile for level in levels])]
    state = method.start(np.random.default_rng(1))
    for _ in range(2):  # labels, then the votes
        question = method.ask(state)
        state = method.learn(state, question, method.answer(question, rows, DRAWS).value)
    assert state["clip.norm"] == wanted and method.ask(state).bound == wanted


def test_votes_of_nobody_still_choose_a_public_norm():
    prelude = QuantileClip(middle=1.0, quantile=0.5, sampling=1.0)
    assert prelude.learn(np.full(25, -3.0))["norm"] in prelude.norms


# ---- Both


def test_preludes_are_charged_apart_at_their_own_level_and_rate():
    plain, both = build().plan(1.0), build(normalise="gene", clip_quantile=0.5).plan(1.0)
    assert both[2:] == plain
    assert [(m.level, m.sampling, m.count, m.scope) for m in both[:2]] == [(2.0, 1.0, 1, "cvae"), (2.0, 0.5, 1, "cvae")]


def test_questions_come_in_order_and_the_clip_is_measured_on_standardised_values():
    method, rows = build(normalise="gene", clip_quantile=0.5), shard(30)
    state, lengths = method.start(np.random.default_rng(1)), []
    while (question := method.ask(state)) is not None:
        lengths.append(question.length)
        state = method.learn(state, question, method.answer(question, rows, DRAWS).value)
    parameters = lengths[-1]
    assert lengths == [7, 2, 25, parameters, parameters, parameters]
    assert {"standardise.centre", "standardise.scale", "clip.norm"} <= set(method.release(state))


@pytest.mark.parametrize("payload", [{}, {"standardise.centre": np.zeros(2), "standardise.scale": np.ones(3)}])
def test_payload_without_what_was_learned_is_refused(payload):
    method = build(normalise="gene")
    _, state = learned(method, shard(20))
    question = method.ask(state)
    with pytest.raises(SpecError, match="a payload with what standardise learned"):
        method.answer(replace(question, payload=payload), shard(20), DRAWS)
