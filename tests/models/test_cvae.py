"""The conditional autoencoder: rows apart, weights from a seed, able to learn."""

import math

import numpy as np
import pytest
import torch

from fedgenome.errors import SpecError
from fedgenome.models import cvae, parameters
from fedgenome.privacy.gradients import sum_gradients

GENES, LABELS, LATENT = 12, 3, 4


def model(seed=5, **options):
    made = cvae.CVAE(GENES, LABELS, hidden=16, latent=LATENT, **options)
    parameters.initialise(made, np.random.default_rng(seed))
    return made


def batch(rows=8, seed=0):
    rng = np.random.default_rng(seed)
    x, draws = rng.random((rows, GENES)), rng.standard_normal((rows, LATENT))
    onehot = np.eye(LABELS)[rng.integers(0, LABELS, rows)]
    return tuple(torch.from_numpy(array.astype(np.float32)) for array in (x, onehot, draws))


@pytest.mark.parametrize("changed", range(3))
def test_loss_of_a_row_depends_on_that_row_alone(changed):
    made, inputs = model(), batch()
    before = cvae.loss(made, inputs)
    inputs[changed][2] += 1
    after = cvae.loss(made, inputs)
    assert before[2] != after[2]
    others = torch.arange(8) != 2
    assert torch.equal(before[others], after[others])


def test_loss_is_the_evidence_bound_written_out():
    made, (x, onehot, draws) = model(variance=0.1, beta=0.5), batch()
    with torch.no_grad():
        mean, log_variance = (t.double().numpy() for t in made.encode(x, onehot))
        z = mean + np.exp(log_variance / 2) * draws.numpy()
        rebuilt = made.decode(torch.from_numpy(z.astype(np.float32)), onehot).double().numpy()
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1)
    right = ((rebuilt - x.numpy()) ** 2).sum(1) / 0.2 + 0.5 * divergence
    np.testing.assert_allclose(cvae.loss(made, (x, onehot, draws)).detach(), right, rtol=1e-5)


def test_same_seed_gives_the_same_weights_and_another_seed_others():
    assert np.array_equal(parameters.flatten(model(5)), parameters.flatten(model(5)))
    assert not np.array_equal(parameters.flatten(model(5)), parameters.flatten(model(6)))


def test_weights_come_from_the_generator_given_and_no_other():
    before = torch.get_rng_state()
    weights = model().decode_genes.weight.detach().numpy()
    assert torch.equal(torch.get_rng_state(), before)
    assert 0.8 / 16 < weights.var() < 1.2 / 16  # variance 1 / inputs: 192 uniform draws, 3 standard deviations


def test_flat_weights_restore_the_model():
    source, other = model(5), model(6)
    parameters.load_flat(other, parameters.flatten(source))
    assert torch.equal(cvae.loss(other, batch()), cvae.loss(source, batch()))
    assert parameters.flatten(other).dtype == np.float32


def test_flat_weights_are_copies_both_ways():
    made = model()
    flat = parameters.flatten(made)
    kept = flat.copy()
    flat[:] = 0
    assert np.array_equal(parameters.flatten(made), kept)
    parameters.load_flat(made, kept)
    kept[:] = 0
    assert parameters.flatten(made).any()


@pytest.mark.parametrize("shape", [(7,), (1, 7)])
def test_flat_weights_of_another_length_are_refused(shape):
    with pytest.raises(SpecError, match=r"expected one number a parameter, got parameters=\d+, shape="):
        parameters.load_flat(model(), np.zeros(shape))


def test_model_learns_eight_rows_by_heart():
    made, inputs = model(), batch()
    optimiser = torch.optim.Adam(made.parameters(), lr=0.01)
    first = cvae.loss(made, inputs).sum()
    for _ in range(400):
        optimiser.zero_grad()
        total = cvae.loss(made, inputs).sum()
        total.backward()
        optimiser.step()
    rebuilt = made(*inputs)[0]
    assert total < first / 4
    assert (rebuilt - inputs[0]).square().mean() < 0.1 * inputs[0].var()


def test_log_variance_stays_bounded_whatever_the_weights():
    made, inputs = model(), batch()
    parameters.load_flat(made, 1e6 * parameters.flatten(made))
    assert made.encode(*inputs[:2])[1].abs().max() <= 6


def test_every_parameter_has_a_clipping_rule():
    made, inputs = model(), batch()
    mask = torch.ones(8, dtype=torch.bool)
    clipped = sum_gradients(made, cvae.loss, inputs, torch.arange(8), mask, 1e9)
    whole = torch.autograd.grad(cvae.loss(made, inputs).sum(), list(made.parameters()))
    np.testing.assert_allclose(clipped.value, torch.cat([g.reshape(-1) for g in whole]), rtol=1e-4, atol=1e-4)


def test_documented_sizes_give_a_hundred_thousand_parameters():
    assert parameters.flatten(cvae.CVAE(200, 10, 224, 8)).size == 100_120


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"hidden": 0}, "genes, labels, hidden, latent >= 1, got .*hidden=0"),
        ({"variance": 0.0}, "0 < variance < inf, got variance=0.0"),
        ({"beta": math.nan}, "0 <= beta < inf, got beta=nan"),
    ],
)
def test_sizes_that_make_no_model_are_refused(change, rule):
    with pytest.raises(SpecError, match=rule):
        cvae.CVAE(**{"genes": 2, "labels": 2, "hidden": 2, "latent": 2} | change)
