"""Adapters say nothing at first, learn alone, and leave the base as it was."""

import numpy as np
import pytest
import torch
from torch import nn

from fedgenome.errors import SpecError
from fedgenome.models.language.adapters import adapt, merge
from fedgenome.models.language.base import log_probabilities
from fedgenome.models.language.training import train
from fedgenome.models.parameters import flatten
from tests.models.language.small import drawn, strings


def adapted(architecture, rank=2):
    """Return a base, and the same with adapters."""
    base = drawn(architecture)
    return base, adapt(base, rank, np.random.default_rng(5))


def tune(model, architecture, tokens):
    hidden = 0.3 if architecture == "masked" else None
    return list(train(model, tokens, epochs=[30], batch=4, rate=0.02, rng=np.random.default_rng(0), hidden=hidden))


def test_adapters_say_what_the_base_says_at_first(architecture):
    base, model = adapted(architecture)
    tokens = strings(4)
    torch.testing.assert_close(log_probabilities(model, tokens), log_probabilities(base, tokens))
    assert 0 < flatten(model).size < flatten(base).size / 2


def test_adapters_alone_are_trained_and_the_base_stays(architecture):
    base, model = adapted(architecture)
    before, frozen = flatten(base), {name: kept.clone() for name, kept in model.named_buffers()}
    tokens = strings(4)
    tune(model, architecture, tokens)
    assert log_probabilities(model, tokens).mean() > log_probabilities(base, tokens).mean() + 0.05
    assert all(torch.equal(kept, frozen[name]) for name, kept in model.named_buffers())
    assert np.array_equal(flatten(base), before)


def test_same_seed_draws_the_same_adapters(architecture):
    assert np.array_equal(flatten(adapted(architecture)[1]), flatten(adapted(architecture)[1]))


def test_merged_model_says_what_the_adapted_one_says_without_adapters(architecture):
    base, model = adapted(architecture)
    tokens = strings(4)
    tune(model, architecture, tokens)
    whole = drawn(architecture, seed=9)
    merge(model, whole)
    found, expected = (log_probabilities(each, tokens) for each in (whole, model))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, log_probabilities(base, tokens), atol=1e-2)


@pytest.mark.parametrize("name", ["lstm", "transformer", "state-space", "convolution"])
def test_adapted_model_says_one_token_at_a_time_what_it_says_at_once(name):
    _, model = adapted(name)
    tokens = strings(4)
    tune(model, name, tokens)
    with torch.no_grad():
        logits, state = model.begin(4)
        for column in tokens[:, :-1].unbind(1):
            logits, state = model.step(column, state)
        torch.testing.assert_close(logits, model(tokens)[:, -1], rtol=1e-4, atol=1e-4)


def test_an_lstms_adapter_changes_the_weights_of_its_inputs_by_low_rank():
    _, model = adapted("lstm")
    tune(model, "lstm", strings(4))
    entered, x = model.layers[0], torch.from_numpy(np.random.default_rng(1).random((3, 7, 16), np.float32))
    with torch.no_grad():
        found = entered(x)[0]
        low = entered.enter.up.weight @ entered.enter.down.weight
        entered.lstm.weight_ih_l0 += entered.lstm.weight_ih_l0 @ low
        torch.testing.assert_close(found, entered.lstm(x)[0], rtol=1e-4, atol=1e-5)
    assert torch.linalg.matrix_rank(low) == 2


@pytest.mark.parametrize(
    ("base", "rank", "rule"),
    [(drawn("lstm"), 0, "rank >= 1, got rank=0"), (nn.Tanh(), 1, "a layer to adapt, got model='Tanh'")],
)
def test_nothing_to_adapt_is_refused(base, rank, rule):
    with pytest.raises(SpecError, match=rule):
        adapt(base, rank, np.random.default_rng(0))
