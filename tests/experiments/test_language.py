"""The benchmark of language models compares loops that train the same model."""

import pytest
import torch

from experiments.benchmarks import language
from fedgenome.models.language.base import loss

CASES = {case.name: case for case in language.cases(quick=True)}


@pytest.mark.parametrize("name", CASES)
def test_every_candidate_learns_the_rows_it_is_given(name):
    case = CASES[name]
    inputs = (case.tokens[:8], case.tokens[:8] > 1) if case.hidden else (case.tokens[:8],)
    for start in language.CANDIDATES.values():
        model = case.model()
        with torch.no_grad():
            before = float(loss(model, inputs).mean())
        next(start(case, model))
        assert 1 < float(loss(model, inputs).mean()) < before - 0.01
