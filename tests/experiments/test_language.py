"""The benchmark of language models compares loops that do the same to the same model."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.benchmarks import language
from fedgenome.models.parameters import flatten

CASES = {case.name: case for case in language.cases(quick=True)}


def moved(case, start):
    """Return by how much one epoch of a candidate moves the weights."""
    model = case.model()
    next(iter(start(case, model)))
    return flatten(model) - flatten(case.model())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.hidden is None])
def test_an_epoch_of_one_batch_is_the_same_step_in_every_candidate(name):
    case = replace(CASES[name], tokens=CASES[name].tokens[: language.BATCH])
    ours, plain = (moved(case, start) for start in language.CANDIDATES.values())
    assert np.linalg.norm(ours - plain) < 0.01 * np.linalg.norm(plain)


def test_another_batch_is_noticed():
    case = CASES["lstm, small"]
    one, other = (
        moved(replace(case, tokens=case.tokens[part]), language.CANDIDATES[language.OURS])
        for part in (slice(0, 32), slice(32, 64))
    )
    assert np.linalg.norm(one - other) > 0.1 * np.linalg.norm(one)
