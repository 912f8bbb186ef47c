"""No method's answer moves by more than the query's sensitivity when a donor is removed (DESIGN §3, §7)."""

from dataclasses import fields, replace

import numpy as np
import pytest

from fedgenome.errors import SpecError
from fedgenome.methods.fedsgd import FedSgd
from fedgenome.methods.marginals import Marginals
from fedgenome.privacy.clipping import ClippedSum, sum_rows
from tests.conformance.cases import (
    KINDS,
    NEIGHBOURS,
    NOISE,
    SCHEMA,
    SHARDS,
    absent,
    build,
    draws,
    farthest,
    farthest_of,
    integers,
    masked,
    query_of,
    questions,
    walk,
)


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
@pytest.mark.parametrize("name", SHARDS)
@pytest.mark.parametrize("kind", KINDS)
def test_removing_any_donor_moves_every_answer_by_at_most_the_sensitivity(kind, name, neighbour):
    assert questions(kind, name) and max(farthest_of(kind, name, neighbour)) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_some_donor_uses_most_of_the_sensitivity(kind):
    # Else the test above could pass because answers hold next to nothing.
    reached = [farthest_of(kind, name, "masked") for name in ("one row a donor", "an outlier")]
    assert min(map(max, *reached)) > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_answers_have_the_stated_bound_and_length_and_are_finite(kind):
    method = build(kind)
    for name, shard in SHARDS.items():
        for step, question in questions(kind, name):
            answer = method.answer(question, shard, draws(step))
            assert answer.bound == question.bound
            assert answer.value.shape == (question.length,)
            assert answer.value.dtype == np.float64 and np.isfinite(answer.value).all()


@pytest.mark.parametrize("name", ["no rows", "one row a donor"])
@pytest.mark.parametrize("kind", KINDS)
def test_nobody_gives_exactly_zero(kind, name):
    method, shard = build(kind), SHARDS[name]
    empty = replace(shard, mask=np.zeros(len(shard.x), bool))
    for step, question in questions(kind, name):
        assert not method.answer(question, empty, draws(step)).value.any()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_masked_slot_holds_changes_nothing(kind):
    method, shard = build(kind), SHARDS[name := "several rows a donor"]
    hidden = shard.without(1)
    gone = ~hidden.mask
    other = replace(
        hidden, x=np.where(gone[:, None], np.float32(np.nan), shard.x), label=np.where(gone, 99, shard.label)
    )
    for step, question in questions(kind, name):
        query = query_of(question, shard, step)
        np.testing.assert_array_equal(integers(method, query, hidden), integers(method, query, other))


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_that_rebuilds_the_method_gives_the_same_answer(kind):
    method, shard = build(kind), SHARDS[name := "several rows a donor"]
    site = build(kind, noise=None)
    for step, question in questions(kind, name):
        here, there = (m.answer(question, shard, draws(step)).value for m in (method, site))
        assert here.tobytes() == there.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_shard_of_other_genes_is_refused(kind):
    method, shard = build(kind), SHARDS["one row a donor"]
    question = method.ask(method.start(np.random.default_rng(0)))
    with pytest.raises(SpecError, match="genes"):
        method.answer(question, replace(shard, x=shard.x[:, :2]), draws(0))


# ---- Broken twins: each must be rejected by the checks above ---------------------------------------------


class ForgetsToClip(Marginals):
    def answer(self, question, sample, rng):
        return ClippedSum(value=np.zeros(question.length), bound=question.bound, token=None)


class UnderstatesItsBound(Marginals):
    @property
    def bound(self):
        return super().bound / 2

    def answer(self, question, sample, rng):
        return super().answer(replace(question, bound=2 * question.bound), sample, rng)


class ClipsTheBatch(FedSgd):
    """Gradients are averaged, then clipped, then counted once a donor."""

    def answer(self, question, sample, rng):
        loose = super().answer(replace(question, bound=1e9), sample, rng)
        mean = loose.value / max(1, sample.n_donors)
        people = np.arange(sample.n_donors)
        return sum_rows(np.tile(mean, (len(people), 1)), people, np.ones(len(people), bool), question.bound)


class CentresOnTheBatch(FedSgd):
    """Batch normalisation by another name."""

    def answer(self, question, sample, rng):
        centre = sample.x.mean(0) if len(sample.x) else 0
        return super().answer(question, replace(sample, x=sample.x - centre), rng)


class DrawsByPosition(FedSgd):
    def batch(self, sample, rng):
        rows = super().batch(sample, rng)
        drawn = np.random.default_rng(0).standard_normal(rows.inputs[2].shape).astype(np.float32)
        return replace(rows, inputs=(*rows.inputs[:2], drawn))


def twin_of(twin, kind):
    method = build(kind)
    made = twin(**{field.name: getattr(method, field.name) for field in fields(method)})
    assert made.noise == NOISE and made.schema == SCHEMA
    return made


def test_method_that_forgets_to_clip_cannot_answer():
    method = twin_of(ForgetsToClip, "marginals")
    with pytest.raises(SpecError, match="ClippedSum"):
        list(walk(method, SHARDS["one row a donor"]))


@pytest.mark.parametrize(
    ("twin", "kind", "name", "neighbour"),
    [
        (UnderstatesItsBound, "marginals", "one row a donor", masked),
        (ClipsTheBatch, "cvae", "an outlier", absent),
        (CentresOnTheBatch, "cvae", "an outlier", absent),
        (DrawsByPosition, "cvae", "one row a donor", absent),
    ],
)
def test_broken_twin_is_caught(twin, kind, name, neighbour):
    method, shard = twin_of(twin, kind), SHARDS[name]
    moves = [farthest(method, query_of(q, shard, step), shard, neighbour) for step, _, q in walk(method, shard) if q]
    assert max(moves) > 1.2


def test_payload_of_any_weights_stays_within_the_sensitivity():
    # A coordinator crafts the weights: it may get garbage, never more of a donor.
    method, shard = build("cvae"), SHARDS["several rows a donor"]
    question = [q for _, _, q in walk(method, shard) if q][1]
    for value in (np.nan, np.inf, 1e30, 1e-30, -1e4):
        weights = np.full_like(question.payload["weights"], value)
        query = query_of(replace(question, payload={"weights": weights}), shard, 1)
        assert farthest(method, query, shard, absent) <= 1
