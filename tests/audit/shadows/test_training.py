"""Training together is training one by one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedgenome.audit.shadows.perceptrons import start
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.audit.shadows.training import logits, train
from fedgenome.errors import SpecError
from fedgenome.privacy.gradients import sum_gradients
from tests.audit.shadows.naive import as_module, one_by_one

PLAIN = Recipe(steps=8, batch=8, hidden=(7,), rate=0.02)
RECIPES = {
    "linear, SGD": replace(PLAIN, hidden=(), optimiser="sgd", momentum=0.9, rate=0.3),
    "two layers, Adam": replace(PLAIN, hidden=(7, 5), activation="sigmoid", decay=0.01),
    "DP, Poisson": replace(PLAIN, sampling="poisson", clip=0.3, activation="tanh"),
    "DP, shuffled, public scale": replace(PLAIN, clip=0.3, optimiser="sgd", rate=0.5, scale="none"),
}


def run(cohort, recipe, seed=1, **more):
    x, label, inside = cohort
    return logits(train(x, label, inside, recipe, np.random.default_rng(seed), classes=3, **more), x)


@pytest.mark.parametrize("name", RECIPES)
def test_logits_are_those_of_a_loop_over_models_and_rows(cohort, name):
    x, label, inside = cohort
    found = run(cohort, RECIPES[name], chunk=3)
    rngs = np.random.default_rng(1).spawn(5)
    for k, rng in enumerate(rngs[:3]):
        assert np.abs(found[k] - one_by_one(x, label, inside[k], RECIPES[name], rng, 3)).max() < 1e-4


@pytest.mark.parametrize("recipe", [PLAIN, replace(PLAIN, clip=0.3, noise=2.0)], ids=["plain", "noise"])
def test_a_model_does_not_depend_on_who_shares_its_chunk(cohort, recipe):
    assert np.abs(run(cohort, recipe, chunk=5) - run(cohort, recipe, chunk=2)).max() < 1e-4


def test_a_models_scaler_and_weights_read_no_row_but_its_own(cohort):
    x, label, inside = cohort
    before = run(cohort, PLAIN)
    strange = np.where(inside[0][:, None], x, 1e3 - x)
    after = train(strange, label, inside, PLAIN, np.random.default_rng(1), classes=3)
    assert np.array_equal(logits(after, x)[0], before[0])
    assert not np.allclose(logits(after, x)[1], before[1])


def test_clipped_sums_are_those_of_the_librarys_engine():
    rng = np.random.default_rng(2)
    models = start((9, 6, 4), "relu", rng.spawn(3))
    x, label = (
        torch.tensor(rng.normal(0, 3, (3, 20, 9)), dtype=torch.float32),
        torch.tensor(rng.integers(0, 4, (3, 20))),
    )
    found = models.gradients((x, label), torch.ones(3, 20), 0.5)
    who = torch.arange(20), torch.ones(20, dtype=torch.bool)
    for k in range(3):
        right = sum_gradients(as_module(models, k), _loss, (x[k], label[k]), *who, 0.5).value
        mine = np.concatenate([found[i][k].flatten().numpy() for i in (0, 2, 1, 3)])
        assert np.linalg.norm(mine - right) < 1e-5 * np.linalg.norm(right)


def _loss(model, inputs):
    return functional.cross_entropy(model(inputs[0]), inputs[1], reduction="none")


def test_noise_has_its_deviation_and_is_each_models_own(cohort):
    """One SGD step at rate 1: what noise adds is N(0, (2·.3/8)²) a weight; 19,530 draws, five standard errors."""
    x, label, inside = cohort
    recipe = replace(PLAIN, steps=1, optimiser="sgd", rate=1.0, clip=0.3, hidden=(240,))
    pair = [
        train(x, label, inside, replace(recipe, noise=z), np.random.default_rng(1), classes=3)[0].models.parameters
        for z in (0.0, 2.0)
    ]
    added = torch.cat([(b - a).reshape(5, -1) for a, b in zip(*pair, strict=True)], 1)
    assert float(added.std()) == pytest.approx(2 * 0.3 / 8, rel=5 / (2 * added.numel()) ** 0.5)
    assert torch.corrcoef(added).fill_diagonal_(0).abs().max() < 5 / added.shape[1] ** 0.5


def test_the_same_generator_gives_the_same_models_and_another_does_not(cohort):
    assert np.array_equal(run(cohort, PLAIN), run(cohort, PLAIN))
    assert not np.allclose(run(cohort, PLAIN), run(cohort, PLAIN, seed=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inside": np.zeros((2, 60), bool)}, "at least one row for every model"),
        ({"x": np.full((60, 2), np.nan)}, "finite rows"),
        ({"label": np.full(60, 3)}, r"labels in 0 … 2"),
        ({"label": np.zeros(59, int)}, "a label each"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(cohort, change, message):
    given = dict(zip(("x", "label", "inside"), cohort, strict=True)) | change
    with pytest.raises(SpecError, match=message):
        train(**given, recipe=PLAIN, rng=np.random.default_rng(1), classes=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 1.0}, "a clip norm wherever there is noise"),
        ({"momentum": 0.9}, "momentum for SGD only"),
        ({"steps": 0}, "steps, batch >= 1"),
        ({"clip": 0.0}, "0 < clip < inf"),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(change, message):
    with pytest.raises(SpecError, match=message):
        replace(PLAIN, **change)
