"""The loop learns what there is to learn, recites what is repeated, and is the same however often it is looked at."""

import math

import numpy as np
import pytest
import torch

from fedgenome.errors import SpecError
from fedgenome.models.language.base import log_probabilities
from fedgenome.models.language.sizes import CAPACITIES, build
from fedgenome.models.language.training import train
from fedgenome.models.parameters import flatten, initialise
from tests.models.language.small import drawn, strings

FREQUENCIES = [0.4, 0.3, 0.2, 0.1]
ENTROPY = -sum(p * math.log2(p) for p in FREQUENCIES)


def small(architecture, length):
    """Return a model of the smallest capacity, drawn."""
    model = build(CAPACITIES[architecture]["small"], 4, length)
    initialise(model, np.random.default_rng(2))
    return model


def hidden_share(architecture):
    return 0.3 if architecture == "masked" else None


def run(model, tokens, epochs, seed=4, **others):
    """Return the checkpoints of a run."""
    plan = {"batch": 8, "rate": 3e-3, "rng": np.random.default_rng(seed), "hidden": None} | others
    return list(train(model, tokens, epochs=epochs, **plan))


def test_letters_drawn_apart_are_learned_to_their_entropy(architecture):
    rng = np.random.default_rng(0)
    tokens = torch.from_numpy(rng.choice(4, (700, 16), p=FREQUENCIES))
    model = small(architecture, 16)
    run(model, tokens[:500], [3], batch=32, rate=2e-3, hidden=hidden_share(architecture))
    bits = -float(log_probabilities(model, tokens[500:]).mean()) / math.log(2)
    assert abs(bits - ENTROPY) < 0.04  # .011 is one standard deviation of the 3,200 letters' own


def recited(model, tokens):
    """Return how many of ``tokens`` are the likeliest string that starts as they do, letter by letter."""
    with torch.no_grad():
        found, state = tokens[:, :6], model.begin(len(tokens))[1]
        for t in range(tokens.shape[1] - 1):
            logits, state = model.step(found[:, t], state)
            if t + 1 == found.shape[1]:
                found = torch.cat([found, logits.argmax(1, keepdim=True)], 1)
    return int((found == tokens).all(1).sum())


@pytest.mark.parametrize(
    ("name", "epochs"), [("lstm", 250), ("transformer", 60), ("state-space", 60), ("convolution", 60)]
)
def test_eight_random_strings_are_recited_after_training_and_none_before(name, epochs):
    model, tokens = small(name, 48), strings(8, 48)
    assert recited(model, tokens) == 0
    run(model, tokens, [epochs], rate=1e-2)
    assert recited(model, tokens) == 8


def test_a_masked_model_fills_in_eight_random_strings_after_training():
    model, tokens = small("masked", 48), strings(8, 48)

    def filled():
        return float((log_probabilities(model, tokens).exp() > 0.5).double().mean())

    assert filled() < 0.5
    run(model, tokens, [250], rate=5e-3, hidden=0.3)
    assert filled() > 0.95


def test_run_ends_with_the_same_weights_however_often_it_is_looked_at(architecture):
    often, once, tokens = drawn(architecture), drawn(architecture), strings(20)
    seen = run(often, tokens, range(4), hidden=hidden_share(architecture))
    last = run(once, tokens, [3], hidden=hidden_share(architecture))
    assert [one.epoch for one in seen] == [0, 1, 2, 3] and seen[-1] == last[-1]
    assert np.array_equal(flatten(often), flatten(once))


def test_another_seed_takes_rows_in_another_order():
    one, other = drawn("lstm"), drawn("lstm")
    run(one, strings(20), [1], seed=1)
    run(other, strings(20), [1], seed=2)
    assert not np.array_equal(flatten(one), flatten(other))


def test_repeats_are_copies_of_rows_that_nobody_made():
    tokens, repeats = strings(3), np.array([2, 0, 3])
    counted, copied = drawn("lstm"), drawn("lstm")
    run(counted, tokens, [2], batch=2, repeats=repeats)
    (last,) = run(copied, tokens[torch.tensor([0, 0, 2, 2, 2])], [2], batch=2)
    assert np.array_equal(flatten(counted), flatten(copied))
    assert (last.epoch, last.steps) == (2, 6)


def test_training_draws_from_the_generator_given_and_no_other():
    before = torch.get_rng_state()
    run(drawn("masked"), strings(4), [1], hidden=0.3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"epochs": []}, r"epochs of at least 0, got epochs=\[\]"),
        ({"batch": 0}, "batch >= 1, 0 < rate < 1, got batch=0"),
        ({"rate": math.nan}, "batch >= 1, 0 < rate < 1, got .*rate=nan"),
        ({"hidden": 0.3}, "hidden for masked models alone, got hidden=0.3"),
        ({"repeats": np.zeros(3, int)}, "a row that is repeated at least once, got rows=3"),
        ({"repeats": np.array([1, 1])}, "one repeat of at least 0 a row"),
        ({"tokens": torch.zeros(3, dtype=torch.int64)}, r"tokens of \(rows, length\), got shape=\(3,\)"),
    ],
)
def test_runs_that_train_nothing_are_refused(change, rule):
    given = {"tokens": strings(3), "epochs": [1]} | change
    with pytest.raises(SpecError, match=rule):
        run(drawn("lstm"), given.pop("tokens"), given.pop("epochs"), **given)
