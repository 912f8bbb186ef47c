"""Asking is pure, the state is the checkpoint, and a run stays within its plan, exactly (DESIGN §3)."""

from collections import Counter

import numpy as np
import pytest
from safetensors.numpy import load, save

from fedgenome.errors import SpecError
from fedgenome.methods.base import Classifier, Generator
from fedgenome.methods.fedsgd import FedSgd
from fedgenome.methods.marginals import Marginals
from tests.conformance.cases import (
    CLASSIFIERS,
    GENERATORS,
    KINDS,
    NOISE,
    SCHEMA,
    SHARDS,
    build,
    draws,
    opened,
    query_of,
    walk,
)
from tests.conformance.test_sensitivity import twin_of
from tests.methods.test_memory import Careless

SHARD = SHARDS["several rows a donor"]


def frozen(state):
    """Return the state as bytes, to see whether it changed."""
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in state.items()}


def digests(method, state, step):
    """Ask twice, then after a round trip of the state through safetensors; None where finished."""
    states = (state, state, load(save(state)))
    return {q and query_of(q, SHARD, step).digest for q in map(method.ask, states)}


def asked(method):
    return Counter(q.mechanism for _, _, q in walk(method, SHARD) if q is not None)


def planned(method):
    return Counter({m.form: m.count for m in method.plan(NOISE)})


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_same_state_asks_the_same_question_also_after_a_checkpoint(kind, private):
    method = build(kind, private=private)
    for step, state, question in walk(method, SHARD):
        assert len(digests(method, state, step)) == 1
        assert (question is None) == (digests(method, state, step) == {None})


def changed(method):
    """Return how many states, payloads and sums of a run differ at its end from what they were."""
    held = []
    for step, state, question in walk(method, SHARD):
        sums = {"sum": method.answer(question, SHARD, draws(step)).value} if question else {}
        payload = question.payload if question else {}
        held += [(arrays, frozen(arrays)) for arrays in (state, payload, sums)]
    return sum(frozen(arrays) != before for arrays, before in held)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_caller_holds_of_earlier_rounds_stays_as_it_was(kind):
    assert not changed(build(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_queries_of_a_run_all_differ(kind):
    method = build(kind)
    seen = [query_of(q, SHARD, 0).digest for _, _, q in walk(method, SHARD) if q]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_learning_and_asking_leave_the_state_as_it_was(kind):
    method = build(kind)
    for _, state, question in walk(method, SHARD):
        before = frozen(state)
        if question is not None:
            method.learn(state, question, np.full(question.reply_length, 3.5))
        assert frozen(state) == before


@pytest.mark.parametrize("kind", KINDS)
def test_state_keeps_its_arrays_names_types_and_shapes_once_learned(kind):
    method = build(kind)
    states = [frozen(state) for _, state, _ in walk(method, SHARD)][1:]
    assert all({n: v[:2] for n, v in s.items()} == {n: v[:2] for n, v in states[0].items()} for s in states)
    assert states[0]["step"][:2] == ("<i8", ())


@pytest.mark.parametrize("kind", KINDS)
def test_run_asks_exactly_what_its_plan_holds(kind):
    assert asked(build(kind)) == planned(build(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_without_privacy_the_plan_is_empty_and_nothing_has_a_mechanism(kind):
    method = build(kind, private=False, noise=None)
    assert method.plan(NOISE) == ()
    assert set(asked(method)) == {None}


@pytest.mark.parametrize("kind", KINDS)
def test_plan_levels_grow_with_the_noise_and_are_charged_to_the_method(kind):
    method = build(kind)
    for one, two in zip(method.plan(1.0), method.plan(2.0), strict=True):
        times = 2.0 if one.kind == "gaussian" else 0.5  # a selection's level is its ε
        assert two.level == times * one.level and (one.sampling, one.count) == (two.sampling, two.count)
        assert one.scope == method.name


@pytest.mark.parametrize("kind", KINDS)
def test_private_method_without_a_noise_level_does_not_start(kind):
    with pytest.raises(SpecError, match="noise level"):
        build(kind, noise=None).start(np.random.default_rng(0))


def released(kind, deviation):
    """Run a method to its end on sums of nothing but noise; return it and what it released, as read back."""
    method, rng = build(kind), np.random.default_rng(5)
    state = method.start(rng)
    while (question := method.ask(state)) is not None:
        state = method.learn(state, question, opened(question, rng.normal(0, deviation, question.length)))
    return method, load(save(method.release(state)))


@pytest.mark.parametrize("deviation", [0.0, 1e3])
@pytest.mark.parametrize("kind", GENERATORS)
def test_release_is_finite_with_shares_that_sum_to_one_whatever_the_sums_were(kind, deviation):
    method, arrays = released(kind, deviation)
    assert isinstance(method, Generator)
    assert all(np.isfinite(array).all() for array in arrays.values())
    weights = method.label_weights(arrays)
    assert weights.shape == (3,) and (weights >= 0).all() and abs(weights.sum() - 1) < 1e-9


@pytest.mark.parametrize("deviation", [0.0, 1e3])
@pytest.mark.parametrize("kind", GENERATORS)
def test_rows_are_in_the_public_range_and_repeatable_whatever_the_sums_were(kind, deviation):
    method, arrays = released(kind, deviation)
    labels = np.array([0, 2, 2, 1])
    rows, again = (method.sample(arrays, labels, np.random.default_rng(1)) for _ in range(2))
    assert rows.shape == (4, 4) and rows.dtype == np.float32
    assert np.isfinite(rows).all() and rows.min() >= SCHEMA.low and rows.max() <= SCHEMA.high
    np.testing.assert_array_equal(rows, again)
    assert method.sample(arrays, labels[:0], np.random.default_rng(1)).shape == (0, 4)


@pytest.mark.parametrize("deviation", [0.0, 1e3])
@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_classifier_tells_a_label_for_every_row_whatever_the_sums_were(kind, deviation):
    method, arrays = released(kind, deviation)
    assert isinstance(method, Classifier)
    assert all(np.isfinite(array).all() for array in arrays.values())
    told = method.predict(arrays, SHARD.x)
    assert told.shape == (len(SHARD.x),) and set(told.tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("kind", KINDS)
def test_unfinished_run_has_no_release(kind):
    method = build(kind)
    with pytest.raises(SpecError, match="finished"):
        method.release(method.start(np.random.default_rng(0)))


# ---- Broken twins ------------------------------------------------------------------------------------------


class RemembersAsking(FedSgd):
    def ask(self, state):
        question = super().ask(state)
        state["weights"] = state["weights"] + np.float32(1)
        return question


class AsksOnceMore(Marginals):
    def ask(self, state):
        step = state.get("extra", state["step"])
        return super().ask({"step": np.array(0)}) if step < 2 else None

    def learn(self, state, question, total):
        return super().learn(state, question, total) | {"extra": state.get("extra", np.array(0)) + 1}


class TurnsTheNoiseDown(FedSgd):
    def mechanism(self, position):
        return super().mechanism(-1)


class WritesOverStates(FedSgd):
    memory = Careless()


def test_memory_that_serves_again_too_early_is_caught():
    assert changed(twin_of(WritesOverStates, "cvae"))


def test_asking_that_changes_the_state_is_caught():
    method = twin_of(RemembersAsking, "cvae")
    _, state, _ = list(walk(method, SHARD))[1]
    assert len(digests(method, state, 1)) > 1


@pytest.mark.parametrize(("twin", "kind"), [(AsksOnceMore, "marginals"), (TurnsTheNoiseDown, "cvae")])
def test_run_outside_its_plan_is_caught(twin, kind):
    method = twin_of(twin, kind)
    assert asked(method) != planned(method)
