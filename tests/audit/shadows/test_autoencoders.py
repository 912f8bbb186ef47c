"""Autoencoders trained together are those trained one by one, by the library's own engine."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedgenome.audit.shadows import autoencoders
from fedgenome.audit.shadows.batches import batches
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.errors import SpecError
from fedgenome.models import cvae, parameters
from fedgenome.privacy.gradients import sum_gradients

PLAIN = Recipe(steps=6, batch=8, rate=0.01, scale="none")
PRIVATE = replace(PLAIN, sampling="poisson", clip=0.5)


def make(rng):
    model = cvae.CVAE(9, 3, 7, 2)
    parameters.initialise(model, rng)
    return model


@pytest.fixture
def scaled(cohort):
    x, label, inside = cohort
    return (x[:, :9] - x.min()) / np.ptp(x), np.eye(3)[label], inside


def one_by_one(x, onehot, own, recipe, rng):
    """Return a model whose gradients are the library's sums: clipped, or with a clip norm that binds nobody."""
    model = make(rng)
    rng.integers(2**63)  # the noise's
    x, onehot = (torch.tensor(each, dtype=torch.float32) for each in (x, onehot))
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.rate, foreach=False)
    for index, weight in batches([np.flatnonzero(own)], recipe, [rng]):
        at = torch.from_numpy(index[0][weight[0] > 0])
        inputs = x[at], onehot[at], torch.from_numpy(rng.standard_normal((len(at), 2), np.float32))
        who = torch.arange(len(at)), torch.ones(len(at), dtype=torch.bool)
        total = sum_gradients(model, cvae.loss, inputs, *who, recipe.clip or 1e6).value / recipe.batch
        start = 0
        for parameter in model.parameters():
            part = total[start : start + parameter.numel()]
            parameter.grad = torch.from_numpy(part).float().view(parameter.shape)
            start += parameter.numel()
        optimiser.step()
    return model


@pytest.mark.parametrize("recipe", [PLAIN, PRIVATE], ids=["plain", "DP, Poisson"])
def test_losses_are_those_of_models_trained_one_by_one(scaled, recipe):
    x, onehot, inside = scaled
    draws = np.random.default_rng(2).standard_normal((60, 2))
    trained = autoencoders.train(x, onehot, inside, make, recipe, np.random.default_rng(1), chunk=3)
    found = np.concatenate([models.losses(x, onehot, draws) for models in trained])
    inputs = tuple(torch.tensor(each, dtype=torch.float32) for each in (x, onehot, draws))
    for k, rng in enumerate(np.random.default_rng(1).spawn(5)):
        with torch.no_grad():
            right = cvae.loss(one_by_one(x, onehot, inside[k], recipe, rng), inputs).numpy()
        assert found[k] == pytest.approx(right, rel=1e-4)


def test_rows_scaled_by_themselves_are_refused(scaled):
    x, onehot, inside = scaled
    with pytest.raises(SpecError, match="scale = none"):
        autoencoders.train(x, onehot, inside, make, replace(PLAIN, scale="own"), np.random.default_rng(1))
