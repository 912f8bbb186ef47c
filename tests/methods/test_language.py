"""Language models as a method: what a site sums, what is kept and released, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.methods.base import Classifier, Generator
from fedgenome.models.language.base import loss
from fedgenome.models.parameters import load_flat
from fedgenome.privacy.coins import DonorNormals
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Schema, Vocabulary

LENGTH = 8
SCHEMA = Schema(
    genes=tuple(map(str, range(LENGTH))), labels=("a", "b"), high=4.0, unit="donor", tokens=Vocabulary(letters="ACGT")
)
DRAWS = DonorNormals(Root.simulation(1, "test"), ("glm", 1, 0))
SMALL = {"width": 16, "layers": 1, "rounds": 3, "sampling": 0.5}


def made(architecture="lstm", *, private=True, schema=SCHEMA, **options):
    spec = MethodSpec(kind="language", name="glm", options=SMALL | {"architecture": architecture} | options)
    method = registry.build(spec, schema, 20, private, trust="local" if "local_steps" in options else "distributed")
    return method.at(1.0) if private else method


def windows(donors=10, each=2, seed=0):
    x = np.random.default_rng(seed).integers(0, 4, (donors * each, LENGTH)).astype(np.float32)
    donor = np.repeat(np.arange(donors), each)
    return Shard(
        x=x,
        label=np.zeros(len(x), np.int64),
        donor=donor,
        donors=tuple(f"d{i}" for i in range(donors)),
        mask=np.ones(len(x), bool),
    )


def gradient(method, shard):
    return method.answer(method.ask(method.start(np.random.default_rng(0))), shard, DRAWS).value


def test_answer_is_the_clipped_gradient_of_the_mean_over_a_donors_windows():
    method, one = made(clip=1e6), windows(donors=1, each=3)
    value = gradient(method, one)
    load_flat(method.model, method.start(np.random.default_rng(0))["weights"])
    loss(method.model, (torch.from_numpy(one.x.copy()).long(),)).mean().backward()
    naive = torch.cat([p.grad.flatten() for p in method.model.parameters()]).numpy()
    np.testing.assert_allclose(value, naive, rtol=1e-4, atol=1e-6)


def test_what_is_no_known_token_is_the_unknown_one_and_never_a_target():
    shard = windows()
    odd = replace(shard, x=np.where(np.arange(LENGTH) == 3, np.float32(np.nan), shard.x))
    marked = replace(shard, x=np.where(np.arange(LENGTH) == 3, np.float32(4), shard.x))
    beyond = replace(shard, x=np.where(np.arange(LENGTH) == 3, np.float32(-7.5), shard.x))
    answers = [gradient(made(), each) for each in (odd, marked, beyond, shard)]
    assert np.array_equal(answers[0], answers[1]) and np.array_equal(answers[1], answers[2])
    assert not np.array_equal(answers[0], answers[3])


def test_what_a_masked_model_does_not_see_is_its_donors_own_draw():
    method, shard = made("masked", hidden=0.4), windows()
    hidden = method.batch(shard, DRAWS).inputs[1]
    alone = method.batch(shard.take(np.arange(10) == 7), DRAWS).inputs[1]
    assert np.array_equal(hidden[shard.donor == 7], alone)
    assert hidden.mean() == pytest.approx(0.4, abs=3.3 * (0.24 / hidden.size) ** 0.5)  # false alarm 1e-3


def test_plan_is_the_rounds_alone_and_weights_are_kept_where_they_are_asked_for():
    method = made(kept=[1, 3])
    assert [m.count for m in method.plan(1.0)] == [3]
    state, seen = method.start(np.random.default_rng(0)), []
    while (question := method.ask(state)) is not None:
        state = method.learn(state, question, method.answer(question, windows(), DRAWS).value)
        seen.append(state["weights"])
    arrays = method.release(state)
    assert set(arrays) == {"weights", "curve", "kept"}
    assert np.array_equal(arrays["kept"], [seen[0], seen[2]]) and np.array_equal(arrays["weights"], seen[2])


@pytest.mark.parametrize("architecture", ["lstm", "masked"])
def test_it_learns_what_every_donor_repeats_and_writes_it(architecture):
    method = made(architecture, private=False, rounds=30, rate=0.05, hidden=0.5)
    shard = replace(windows(), x=np.tile(np.float32([0, 1, 2, 3, 3, 2, 1, 0]), (20, 1)))
    state = method.start(np.random.default_rng(0))
    while (question := method.ask(state)) is not None:
        state = method.learn(state, question, method.answer(question, shard, DRAWS).value)
    arrays = method.release(state)
    rows = method.sample(arrays, np.zeros(50, np.int64), np.random.default_rng(1))
    assert rows.dtype == np.float32 and (rows == shard.x[0]).mean() > 0.9
    known, other = (method.losses(arrays, x, np.zeros(20, np.int64)).mean() for x in (shard.x, windows(seed=5).x))
    assert known < 0.2 < 1.0 < other


@pytest.fixture
def public(tmp_path):
    """Return a release's tensors: a trained LSTM, beside another method's weights; and the LSTM's own."""
    method = made(private=False, rounds=1)
    weights = method.start(np.random.default_rng(3))["weights"]
    save_file({"glm/weights": weights, "other/weights": weights[:5]}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors", weights


def trained(method, shard):
    state = method.start(np.random.default_rng(0))
    while (question := method.ask(state)) is not None:
        state = method.learn(state, question, method.answer(question, shard, DRAWS).value)
    return method.release(state)


def test_adapters_start_from_a_public_model_and_a_whole_one_is_released(public):
    path, weights = public
    method = made(base=str(path), adapters=2, kept=[1], rate=0.1, rounds=20, sampling=1.0)
    assert method.parameters < len(weights) / 2
    shard = replace(windows(), x=np.tile(np.float32([0, 1, 2, 3, 3, 2, 1, 0]), (20, 1)))
    arrays = trained(method, shard)
    assert arrays["weights"].shape == weights.shape and arrays["kept"].shape == (1, len(weights))
    before, after = (method.losses(told, shard.x, shard.label).mean() for told in ({"weights": weights}, arrays))
    assert after < before - 0.3


@pytest.mark.parametrize("steps", [{}, {"local_steps": 2}])
def test_what_is_frozen_travels_with_every_question_and_is_not_answered(public, steps):
    path, weights = public
    method = made(base=str(path), adapters=2, **steps)
    question = method.ask(method.start(np.random.default_rng(0)))
    assert np.array_equal(question.payload["frozen"], weights)
    assert question.length == len(question.payload["weights"]) == method.parameters


def test_tuning_without_adapters_starts_at_the_bases_weights(public):
    path, weights = public
    assert np.array_equal(made(base=str(path)).start(np.random.default_rng(0))["weights"], weights)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"adapters": 2}, "options.base: a public model for the adapters"),
        ({"base": "nowhere.safetensors"}, "options.base: expected a file of safetensors, got nowhere.safetensors"),
        ({"base": "", "width": 32}, r"options.base: one method with \d+ weights, as the options ask for"),
    ],
)
def test_base_that_does_not_fit_is_refused(public, options, said):
    options = options | ({"base": str(public[0])} if options.get("base") == "" else {})
    with pytest.raises(SpecError, match=said):
        made(**options).start(np.random.default_rng(0))


def test_at_home_it_takes_steps_of_its_own():
    method = made(private=True, local_steps=2)
    assert type(method).__name__ == "LanguageAtHome"
    assert [(m.count, m.where) for m in method.plan(1.0)] == [(6, "home")]


def test_it_generates_and_tells_no_classes():
    assert isinstance(made(), Generator) and not isinstance(made(), Classifier)


@pytest.mark.parametrize(
    ("options", "schema", "said"),
    [
        ({}, Schema(genes=("A",), labels=("x",), high=6.0), "expected a method of expression"),
        ({"kept": [4]}, SCHEMA, "kept: rounds of 1 … 3"),
        ({"width": 20, "architecture": "transformer"}, SCHEMA, "multiple of 16"),
        ({"architecture": "mamba"}, SCHEMA, "options.architecture: .*'masked', got 'mamba'"),
    ],
)
def test_what_makes_no_model_is_refused_with_its_name(options, schema, said):
    with pytest.raises(SpecError, match=said):
        made(schema=schema, **options).start(np.random.default_rng(0))
