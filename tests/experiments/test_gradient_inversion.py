"""Records off a first layer's gradient: exact for one donor, exact for who lies alone between crafted thresholds."""

import numpy as np
import pytest
import torch

from experiments.gradient_inversion import attacks
from fedgenome.models import cvae, parameters

GENES, LABELS, HIDDEN = 30, 2, 16


@pytest.fixture
def model():
    made = cvae.CVAE(GENES, LABELS, HIDDEN, 3)
    parameters.initialise(made, np.random.default_rng(0))
    return made


def gradient(model, x, weights):
    """Return the plain sum of the rows' gradients, by autograd."""
    parameters.load_flat(model, weights)
    onehot = torch.eye(LABELS)[torch.arange(len(x)) % LABELS]
    inputs = torch.from_numpy(x.astype(np.float32)), onehot, torch.zeros(len(x), 3)
    found = torch.autograd.grad(cvae.loss(model, inputs).sum(), list(model.parameters()))
    return torch.cat([part.reshape(-1) for part in found]).double().numpy()


def people(n, seed=1):
    return np.random.default_rng(seed).uniform(0, 1, (n, GENES))


def test_one_donors_gradient_is_the_donor_whatever_it_is_scaled_by(model):
    (record,), middle = people(1), np.full(GENES, 0.5)
    seen = 0.37 * gradient(model, record[None], parameters.flatten(model))
    (found,) = attacks.honest(seen, model, 1, middle)
    assert np.allclose(found, record - middle, atol=1e-4)


def test_crafted_thresholds_read_donors_off_a_sum_and_noise_ends_it(model):
    rng, inside, middle = np.random.default_rng(2), people(3), np.full(GENES, 0.5)
    weights = attacks.crafted(parameters.flatten(model), model, people(400, 5), rng)
    seen = gradient(model, inside, weights)
    noised = seen + 3 * np.abs(seen).max() * rng.standard_normal(len(seen))
    read, blurred = (attacks.likeness(attacks.between(g, model, middle), inside - middle) for g in (seen, noised))
    assert np.median(read) > 0.99 and read.max() > 0.999
    assert blurred.max() < 0.75  # the best of sixteen tries at thirty numbers


def test_likeness_ignores_sign_and_scale_and_takes_the_best():
    records = people(2)
    found = np.stack([-3 * records[1], people(1, 9)[0]])
    assert attacks.likeness(found, records)[1] == pytest.approx(1)
    assert attacks.likeness(found, records)[0] < 0.9
