"""Every architecture, whole or adapted, is clipped by its layers' rules, as a loop over donors would."""

import numpy as np
import pytest
import torch

from fedgenome.models.language.adapters import adapt
from fedgenome.models.language.base import loss
from fedgenome.models.parameters import flatten
from fedgenome.privacy.gradients import sum_gradients
from tests.models.language.small import drawn, holes, strings

ROWS, DONORS, BOUND = 24, 12, 0.5
DONOR = torch.arange(ROWS) % DONORS


def case(architecture, rank):
    """Return a model, and tokens with what is hidden where it is masked."""
    model, tokens = drawn(architecture), strings(ROWS, codes=5)
    if rank:
        rng = np.random.default_rng(1)
        model = adapt(model, rank, rng)
        for parameter in model.parameters():  # so that no adapter is at zero
            parameter.data += torch.from_numpy(rng.normal(0, 0.1, tuple(parameter.shape)).astype(np.float32))
    return model, (tokens, holes(tokens)) if architecture == "masked" else (tokens,)


def by_loop(model, inputs, mask):
    """Return the clipped sum, one donor and one backward at a time."""
    total = np.zeros(flatten(model).size)
    for donor in range(DONORS):
        rows = (donor == DONOR) & mask
        mean = loss(model, tuple(tensor[rows] for tensor in inputs)).mean()
        found = torch.autograd.grad(mean, list(model.parameters()))
        gradient = torch.cat([g.reshape(-1) for g in found]).double().numpy()
        total += gradient * min(1, BOUND / np.linalg.norm(gradient))
    return total


class Counted:
    """The loss, and how many donors and calls it saw."""

    def __init__(self):
        self.calls = 0

    def __call__(self, model, inputs):
        self.calls += 1
        return loss(model, inputs)


@pytest.mark.parametrize("rank", [0, 3])
def test_clipped_sum_is_that_of_a_loop_over_donors_without_one(architecture, rank):
    model, inputs = case(architecture, rank)
    mask, counted = torch.arange(ROWS) != 5, Counted()
    found = sum_gradients(model, counted, inputs, DONOR, mask, BOUND).value
    right = by_loop(model, inputs, mask)
    assert np.linalg.norm(found - right) < 1e-5 * np.linalg.norm(right)
    assert counted.calls <= 4  # blocks of one and of two rows a donor, not one call a donor


def test_a_donors_share_does_not_depend_on_the_others(architecture):
    model, inputs = case(architecture, 0)
    every = torch.ones(ROWS, dtype=torch.bool)
    whole, rest, one = (
        sum_gradients(model, loss, inputs, DONOR, mask, BOUND).value for mask in (every, DONOR != 3, DONOR == 3)
    )
    assert np.linalg.norm(whole - rest - one) < 1e-6 * BOUND
