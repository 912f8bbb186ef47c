"""The benchmark of DP-SGD compares things that do the same."""

import warnings
from dataclasses import replace

import pytest
import torch

from experiments.benchmarks import _dp_models as models
from experiments.benchmarks import _dp_rivals as rivals
from experiments.benchmarks import dp_sgd

CASES = {case.name: case for case in models.cases()}


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def moved(case, make):
    """Return by how much one step of ``make(case)`` moves the weights, in units of the rate."""
    held = []

    def kept():
        held.append(case.model())
        return held[-1]

    step = make(replace(case, model=kept))
    before = weights(held[0]).clone()
    step()
    return (weights(held[0]) - before) / rivals.RATE


@pytest.mark.parametrize("name", ["Opacus hooks", "Opacus ghost"])
def test_a_rivals_step_is_ours(monkeypatch, name):
    monkeypatch.setattr(rivals, "RATE", 1.0)
    monkeypatch.setattr(dp_sgd, "RATE", 1.0)
    case = CASES["CVAE, B = 64"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = moved(case, lambda c: dp_sgd.Ours(c).step) * 64
        right = moved(case, rivals.RIVALS[name])
    assert (found - right).norm() < 1e-4 * right.norm()


def test_models_are_the_same_every_time():
    for case in CASES.values():
        assert torch.equal(weights(case.model()), weights(case.model()))
        assert case.loss(case.model(), case.inputs).shape == (len(case.inputs[0]),)
