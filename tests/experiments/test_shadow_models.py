"""The benchmark of shadow models compares candidates that train the same models."""

import warnings
from dataclasses import replace

import pytest

from experiments.benchmarks import shadow_models

CASES = {case.name: case for case in shadow_models.cases(4, 4)}


@pytest.mark.parametrize("name", CASES)
def test_every_candidate_ends_with_the_same_answers_without_noise(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert CASES[name].apart() < shadow_models.AGREE


def test_models_of_other_batches_are_noticed():
    case = CASES["classifier, 200 genes, B = 16"]
    other = {"other": lambda x, label, recipe, inside: case.together(x, label, recipe, inside[::-1])}
    assert replace(case, rivals=other).apart() > 100 * shadow_models.AGREE
