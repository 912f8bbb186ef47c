"""What every architecture owes: no look ahead, rows apart, one token at a time as all at once, seeded weights."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedgenome.errors import SpecError
from fedgenome.models.language.base import Causal, Masked, log_probabilities, loss
from fedgenome.models.language.sizes import CAPACITIES, build
from fedgenome.models.parameters import flatten
from tests.models.language.small import LENGTH, drawn, holes, strings


@torch.no_grad()
def logits(model, tokens):
    return model(tokens) if isinstance(model, Causal) else model(tokens, holes(tokens))


def test_every_architecture_keeps_one_of_the_protocols(architecture):
    model = drawn(architecture)
    assert isinstance(model, Causal) != (architecture == "masked")
    assert isinstance(model, Masked) and model.vocabulary == 4
    assert logits(model, strings(3)).shape == (3, LENGTH, 4)


@pytest.mark.parametrize("at", [0, 7, LENGTH - 1])
def test_a_token_changes_logits_of_later_ones_alone(causal, at):
    tokens = strings(3)
    before = logits(causal, tokens)
    tokens[:, at] = (tokens[:, at] + 1) % 4
    moved = (logits(causal, tokens) - before).abs().amax((0, 2))
    assert (moved[: at + 1] <= 1e-5).all()
    assert (moved[at + 1 : at + 4] > 1e-4).all()


def test_one_token_at_a_time_says_what_all_at_once_do(causal):
    tokens = strings(3, codes=5)
    with torch.no_grad():
        one, state = causal.begin(3)
        steps = [one]
        for column in tokens[:, :-1].unbind(1):
            one, state = causal.step(column, state)
            steps.append(one)
    torch.testing.assert_close(torch.stack(steps, 1), logits(causal, tokens), rtol=1e-5, atol=1e-5)


def test_rows_of_a_state_are_picked_and_repeated_by_indexing(causal):
    tokens, chosen = strings(3), torch.tensor([2, 0, 2])
    with torch.no_grad():
        _, state = causal.step(tokens[:, 0], causal.begin(3)[1])
        whole, _ = causal.step(tokens[:, 1], state)
        picked, _ = causal.step(tokens[chosen, 1], tuple(part[chosen] for part in state))
    torch.testing.assert_close(picked, whole[chosen], rtol=1e-5, atol=1e-5)
    assert (whole[0] - whole[2]).abs().max() > 1e-3


def test_rows_do_not_meet(architecture):
    model, tokens = drawn(architecture), strings(16)
    before = logits(model, tokens)
    tokens[5] = (tokens[5] + 1) % 4
    after = logits(model, tokens)
    others = torch.arange(16) != 5
    assert torch.equal(after[others], before[others]) and not torch.equal(after[5], before[5])


def test_hidden_tokens_are_not_seen_and_others_are():
    model, tokens = drawn("masked"), strings(3)
    hidden = holes(tokens)
    other = torch.where(hidden, (tokens + 1) % 4, tokens)
    shown = torch.where(hidden, tokens, (tokens + 1) % 4)
    with torch.no_grad():
        assert torch.equal(model(other, hidden), model(tokens, hidden))
        assert not torch.equal(model(shown, hidden), model(tokens, hidden))


def test_probabilities_of_all_strings_of_a_length_sum_to_one(causal):
    every = torch.tensor(list(product(range(4), repeat=4)))
    assert float(log_probabilities(causal, every).sum(1).exp().sum()) == pytest.approx(1, abs=1e-6)


def test_log_probabilities_of_a_masked_model_hide_one_position_at_a_time():
    model, tokens = drawn("masked"), strings(3, codes=5)
    found = log_probabilities(model, tokens)
    for t in range(LENGTH):
        hidden = torch.zeros(tokens.shape, dtype=torch.bool)
        hidden[:, t] = True
        with torch.no_grad():
            logs = model(tokens, hidden)[:, t].double().log_softmax(1)
        right = [float(logs[row, code]) if code < 4 else 0.0 for row, code in enumerate(tokens[:, t].tolist())]
        assert found[:, t].tolist() == pytest.approx(right)


def test_unknown_tokens_are_read_and_have_no_log_probability(causal):
    tokens = strings(3)
    known = log_probabilities(causal, tokens)
    tokens[:, 4] = 4
    found = log_probabilities(causal, tokens)
    assert found.dtype == torch.float64 and not found[:, 4].any()
    assert (found[:, 5] != known[:, 5]).all()


def test_loss_of_a_row_is_the_mean_over_its_known_tokens(architecture):
    model, tokens = drawn(architecture), strings(3, codes=5)
    hidden = holes(tokens)
    counted = (tokens < 4) if architecture != "masked" else (tokens < 4) & hidden
    logs = logits(model, tokens).log_softmax(2)
    right = [
        -sum(float(logs[r, t, tokens[r, t]]) for t in np.flatnonzero(counted[r])) / int(counted[r].sum())
        for r in range(3)
    ]
    found = loss(model, (tokens,) if architecture != "masked" else (tokens, hidden))
    assert found.tolist() == pytest.approx(right, rel=1e-5)


def test_row_without_a_known_token_has_no_loss(architecture):
    model, tokens = drawn(architecture), torch.full((2, LENGTH), 4)
    losses = loss(model, (tokens,) if architecture != "masked" else (tokens, holes(tokens)))
    assert losses.tolist() == [0, 0]


def test_weights_come_from_the_generator_given_and_no_other(architecture):
    before = torch.get_rng_state()
    one, same, other = (flatten(drawn(architecture, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize(("capacity", "size"), [("small", 2e4), ("medium", 1e5), ("large", 5e5)])
def test_capacities_are_of_about_one_size_over_architectures(architecture, capacity, size):
    made = build(CAPACITIES[architecture][capacity], 4, 128)
    assert 1 / 1.5 < flatten(made).size / size < 1.5


def test_six_blocks_of_convolutions_see_64_tokens_back_and_no_further():
    model, tokens = drawn("convolution", layers=6, length=100), strings(1, 100)
    before = logits(model, tokens)
    tokens[:, 10] = (tokens[:, 10] + 1) % 4
    moved = (logits(model, tokens) - before).abs().amax((0, 2)) > 1e-7
    assert moved.nonzero().flatten().tolist() == list(range(11, 75))


def test_states_of_the_state_space_are_those_of_its_recurrence_over_a_thousand_tokens():
    block = drawn("state-space").layers[0]
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1000, 16)).astype(np.float32))
    with torch.no_grad():
        whole, real, imaginary = block(x), torch.zeros(1, 16), torch.zeros(1, 16)
        for t in range(1000):
            one, real, imaginary = block.step(x[:, t], real, imaginary)
    torch.testing.assert_close(one, whole[:, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["transformer", "masked"])
def test_tokens_longer_than_the_model_are_refused(name):
    with pytest.raises(SpecError, match=f"tokens no longer than the model, got length={LENGTH + 1}, model={LENGTH}"):
        logits(drawn(name), strings(2, LENGTH + 1))


def test_step_past_the_last_position_is_refused():
    model, tokens = drawn("transformer", length=1), strings(1)
    with pytest.raises(SpecError, match="tokens no longer than the model, got length=2, model=1"):
        model.step(tokens[:, 0], model.begin(1)[1])


@pytest.mark.parametrize("name", ["transformer", "masked", "state-space"])
def test_widths_that_make_no_heads_are_refused(name):
    with pytest.raises(SpecError, match="a width that is a multiple of 16, got width=24"):
        drawn(name, width=24)


def test_a_model_of_zeros_finds_every_string_as_likely(architecture):
    model = build(CAPACITIES[architecture]["small"], 4, LENGTH)
    np.testing.assert_allclose(log_probabilities(model, strings(2)), -math.log(4))
    assert functional.softmax(logits(model, strings(2)), 2).allclose(torch.tensor(0.25))
