"""The benchmark of shadow models compares candidates that train the same models."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from experiments.benchmarks import shadow_models
from fedgenome.audit.shadows import training

CASES = [replace(case, inside=case.inside[:2]) for case in shadow_models.cases(4, 5)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_candidate_ends_with_the_same_logits_without_noise(case):
    case = replace(case, recipe=replace(case.recipe, noise=0.0))
    right = training.logits(shadow_models.together(case), case.x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [shadow_models.one_by_one(make, case) for make in case.rivals.values()]
    assert max(np.abs(each - right).max() for each in found) < shadow_models.AGREE
    assert right.std() > 0.1
