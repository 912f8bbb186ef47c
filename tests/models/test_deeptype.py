"""DeepType's network: its loss written out, its penalty as a proximal step, and centres that are far apart."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedgenome.errors import SpecError
from fedgenome.methods.deeptype import Options
from fedgenome.models.deeptype import DeepType, loss, shrink, simplex
from fedgenome.models.parameters import initialise


@pytest.fixture
def model():
    made = DeepType(6, (5, 4), 3)
    initialise(made, np.random.default_rng(0))
    return made


def batch(rows=8, pull=0.7):
    rng = np.random.default_rng(1)
    arrays = rng.normal(size=(rows, 6)), rng.integers(0, 3, rows), rng.random((rows, 4)), np.full(rows, pull)
    x, label, centre, pulls = map(torch.from_numpy, arrays)
    return x.float(), label, centre.float(), pulls.float()


def test_loss_is_cross_entropy_and_squared_distance_to_the_centre(model):
    x, label, centre, pull = batch()
    first = torch.sigmoid(x @ model.first.weight.T + model.first.bias)
    hidden = torch.sigmoid(first @ model.second.weight.T + model.second.bias)
    scores = hidden @ model.last.weight.T + model.last.bias
    right = -functional.log_softmax(scores, 1)[range(8), label] + 0.7 * ((hidden - centre) ** 2).sum(1)
    torch.testing.assert_close(loss(model, (x, label, centre, pull)), right)


def test_a_rows_loss_depends_on_that_row_alone(model):
    inputs = batch()
    whole = loss(model, inputs)
    torch.testing.assert_close(loss(model, tuple(one[3:5] for one in inputs)), whole[3:5])


def test_shrinking_is_the_proximal_step_of_the_penalty():
    weights = np.array([[3.0, 0.1, 0.0], [4.0, 0.0, 0.0]], np.float32)
    shrink(weights, 0.5)
    np.testing.assert_allclose(weights, [[2.7, 0, 0], [3.6, 0, 0]], rtol=1e-6)  # norms 5, .1 and 0 less a half


def test_public_centres_are_equally_far_apart():
    centres = simplex(3, 30)
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)]
    np.testing.assert_allclose(apart, 0.8 * np.sqrt(20), rtol=1e-5)


def test_the_default_network_has_the_published_size():
    made = DeepType(20_000, Options().hidden, 6)
    assert sum(p.numel() for p in made.parameters()) == 20_000 * 1024 + 1024 + 1024 * 512 + 512 + 512 * 6 + 6
    with pytest.raises(SpecError, match="genes, widths, labels >= 1"):
        DeepType(0, (4, 4), 2)
