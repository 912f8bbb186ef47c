"""A question's payload: nobody can change it, and it is copied no more often than that takes."""

from dataclasses import replace

import numpy as np
import pytest

from fedgenome.query import Question


def question(array):
    return Question(payload={"edges": array}, length=1, reply_length=1, bound=1.0, mechanism=None)


def read_only(array):
    array.setflags(write=False)
    return array


@pytest.mark.parametrize("given", [lambda array: array, lambda array: array[:], lambda array: read_only(array[:])])
def test_payload_that_somebody_could_write_to_is_copied(given):
    array = np.arange(4.0)
    asked = question(given(array))
    array[:] = 9
    assert asked.payload["edges"].tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        asked.payload["edges"][0] = 1


def test_payload_that_nobody_can_write_to_is_not_copied():
    array = read_only(np.arange(4.0))
    first = question(array)
    again = replace(first, payload={**first.payload, "more": np.zeros(1)})
    assert first.payload["edges"] is again.payload["edges"] is array
