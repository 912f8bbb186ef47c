"""DP-FedSGD: what a site answers, what the optimiser does with the sum, what is drawn from the release."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import fedsgd, rounds
from fedgenome.methods.fedsgd import FedSgd, Options
from fedgenome.models import cvae
from fedgenome.models.parameters import flatten, load_flat
from fedgenome.privacy.coins import DonorNormals
from fedgenome.privacy.gradients import sum_gradients
from fedgenome.streams import Root
from fedgenome.study import Schema

SCHEMA = Schema(genes=("A", "B", "C"), labels=("x", "y"), high=6.0)
OPTIONS = Options(hidden=5, latent=2, rounds=4, sampling=0.25, clip=0.5, rate=0.05)
METHOD = FedSgd(name="net", options=OPTIONS, schema=SCHEMA, donors_bound=40, factor=2.0, private=True, noise=1.0)
DRAWS = DonorNormals(Root.simulation(1, "test"), ("net", 1, 0))


def cohort(rows_each=(1,) * 10, seed=0):
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(len(rows_each)), rows_each)
    return Shard(
        x=rng.uniform(0, 6, (len(donor), 3)).astype(np.float32),
        label=rng.integers(0, 2, len(donor)),
        donor=donor,
        donors=tuple(f"d{i}" for i in range(len(rows_each))),
        mask=np.ones(len(donor), bool),
    )


def gradient_state(method=METHOD):
    """Return the state after label counts of 3 and 1."""
    state = method.start(np.random.default_rng(0))
    return method.learn(state, method.ask(state), np.array([3.0, 1.0]))


def gradient(shard, draws=DRAWS, method=METHOD):
    return method.answer(method.ask(gradient_state(method)), shard, draws).value


def test_plan_holds_one_label_query_and_the_rounds_at_relative_levels():
    labels, rounds = METHOD.plan(3.0)
    assert (labels.level, labels.sampling, labels.count) == (3.0 * 2.0 * 4.0, 1.0, 1)
    assert (rounds.level, rounds.sampling, rounds.count) == (3.0 * 2.0, 0.25, 4)


def test_label_counts_give_every_donor_one_vote_over_its_rows():
    shard = replace(cohort((1, 3, 2)), label=np.array([0, 1, 1, 0, 0, 0]))
    question = METHOD.ask(METHOD.start(np.random.default_rng(0)))
    np.testing.assert_allclose(METHOD.answer(question, shard, DRAWS).value, [1 + 1 / 3 + 1, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize(("counts", "weights"), [([3, 1], [0.75, 0.25]), ([-2, 5], [0, 1]), ([-1, -1], [0.5, 0.5])])
def test_label_weights_come_from_the_noisy_counts(counts, weights):
    state = METHOD.start(np.random.default_rng(0))
    learned = METHOD.learn(state, METHOD.ask(state), np.array(counts, float))
    np.testing.assert_allclose(learned["label_weights"], weights)


def test_gradient_answer_is_that_of_the_model_at_the_payload():
    shard, state = cohort(), gradient_state()
    model = cvae.CVAE(3, 2, 5, 2)
    load_flat(model, state["weights"])
    onehot = torch.nn.functional.one_hot(torch.from_numpy(shard.label.copy()), 2).float()
    inputs = torch.from_numpy(shard.x / 6), onehot, torch.from_numpy(DRAWS.normal(shard.donors, 2))
    donor, mask = torch.arange(10), torch.ones(10, dtype=torch.bool)
    precision = METHOD.ask(state).precision
    right = sum_gradients(model, cvae.loss, inputs, donor, mask, 0.5, precision).value
    np.testing.assert_allclose(gradient(shard), right, rtol=1e-6, atol=1e-9)
    assert np.linalg.norm(right) > 0.5


def test_sum_is_divided_by_the_public_expectation_whoever_answered():
    # With plain gradient descent's view of Adam: the first moment after one step is (1 - .9) times the mean.
    state = gradient_state()
    total = np.random.default_rng(3).normal(size=METHOD.parameters)
    learned = METHOD.learn(state, METHOD.ask(state), total)
    np.testing.assert_allclose(learned["first"], 0.1 * total / (0.25 * 40), rtol=1e-5)
    everyone = replace(METHOD, private=False)
    full = everyone.learn(gradient_state(everyone), everyone.ask(gradient_state(everyone)), total)
    np.testing.assert_allclose(full["first"], 0.1 * total / 40, rtol=1e-5)


def test_optimiser_takes_the_steps_of_torch_adam():
    rng, state = np.random.default_rng(0), gradient_state()
    weights = torch.nn.Parameter(torch.from_numpy(state["weights"].copy()))
    optimiser = torch.optim.Adam([weights], lr=0.05)
    for step in range(1, 5):
        noisy = rng.normal(size=METHOD.parameters).astype(np.float32)
        weights.grad = torch.from_numpy(noisy.copy())
        optimiser.step()
        state |= rounds.adam(state, noisy, step, 0.05)
    np.testing.assert_allclose(state["weights"], weights.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_curve_holds_the_norm_of_each_noisy_mean():
    state, norms = gradient_state(), []
    while (question := METHOD.ask(state)) is not None:
        total = np.full(METHOD.parameters, 1.0 + len(norms))
        norms.append(np.linalg.norm(total) / 10)
        state = METHOD.learn(state, question, total)
    np.testing.assert_allclose(METHOD.release(state)["curve"], norms, rtol=1e-6)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_rank_counts_earlier_slots_of_the_same_donor(donors):
    right = [donors[:i].count(donor) for i, donor in enumerate(donors)]
    assert rounds.ranks(np.array(donors, np.int64)).tolist() == right


def test_rows_draw_from_their_donors_stream_by_rank():
    shard = cohort((2, 1, 3, 0, 2))
    drawn = rounds.row_draws(shard, rounds.ranks(shard.donor), DRAWS, 2)
    for slot, (donor, rank) in enumerate(zip(shard.donor, rounds.ranks(shard.donor), strict=True)):
        own = DRAWS.normal([shard.donors[donor]], 6).reshape(3, 2)
        np.testing.assert_array_equal(drawn[slot], own[rank])


def test_row_with_a_missing_value_is_left_out_and_its_donor_stays():
    shard = cohort((3, 1))
    x = shard.x.copy()
    x[1, 2] = np.nan
    left_out = replace(shard, mask=np.array([True, False, True, True]))
    np.testing.assert_array_equal(gradient(replace(shard, x=x)), gradient(left_out))
    assert not np.array_equal(gradient(left_out), gradient(shard))


def test_donor_of_many_rows_counts_with_its_first_64():
    many = cohort((70, 2))
    first = replace(many, x=np.where(rounds.ranks(many.donor)[:, None] < 64, many.x, 3.0).astype(np.float32))
    assert not np.array_equal(first.x, many.x)
    np.testing.assert_array_equal(gradient(first), gradient(many))


@pytest.mark.parametrize(
    "payload",
    [
        {"weights": np.zeros(7, np.float32)},
        {"weights": np.zeros(METHOD.parameters)},
        {"other": np.zeros(METHOD.parameters, np.float32)},
        {"weights": np.zeros(METHOD.parameters, np.float32), "more": np.zeros(1)},
    ],
)
def test_payload_of_other_names_shapes_or_types_is_refused(payload):
    question = replace(METHOD.ask(gradient_state()), payload=payload)
    with pytest.raises(SpecError, match=f"payload of {METHOD.parameters} float32 weights"):
        METHOD.answer(question, cohort(), DRAWS)


def test_asking_does_no_torch_work(monkeypatch):
    state, fresh = gradient_state(), replace(METHOD)
    monkeypatch.setattr(fedsgd.cvae, "CVAE", None)
    assert fresh.ask(state).length == METHOD.parameters


def released():
    """Return arrays whose decoder gives .05, .5 and 2 of the range, whatever the latent."""
    model = cvae.CVAE(3, 2, 5, 2)
    with torch.no_grad():
        model.decode_genes.bias.copy_(torch.tensor([0.05, 0.5, 2.0]))
    return {"weights": flatten(model)}


def drawn(floor, n=20_000):
    method = replace(METHOD, options=OPTIONS.model_copy(update={"floor": floor}))
    return method.sample(released(), np.arange(n) % 2, np.random.default_rng(0))


def test_drawn_rows_have_the_decoders_mean_and_the_models_variance():
    values = drawn(0.0)[:, 1]
    assert abs(values.mean() - 3.0) < 5 * 0.85 / np.sqrt(20_000)
    assert abs(values.var() / (0.02 * 36) - 1) < 5 * np.sqrt(2 / 20_000)  # neighbours .015 and .025 lie outside
    assert (drawn(0.0)[:, 2] == 6).all()


def test_values_near_low_become_low_and_no_others():
    values, floor = drawn(1.0), 6 * np.sqrt(0.02)
    loose = drawn(0.0)
    assert values[values > 0].min() >= floor * (1 - 1e-6)
    np.testing.assert_array_equal(values, np.where(loose < np.float32(floor), 0, loose))
    assert (loose[:, 0] > 0).mean() > (values[:, 0] > 0).mean() + 0.2


def test_same_start_and_sums_give_the_same_bytes():
    def run():
        state = METHOD.start(np.random.default_rng(4))
        while (question := METHOD.ask(state)) is not None:
            state = METHOD.learn(state, question, METHOD.answer(question, cohort(), DRAWS).value)
        return METHOD.release(state)["weights"].tobytes()

    assert run() == run()
