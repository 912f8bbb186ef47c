"""Memory serves again once nobody holds it, and never before."""

from collections import defaultdict, deque

import numpy as np
import pytest
import torch

from fedgenome.methods.memory import Recycled

HOLDS = {
    "itself": lambda array: array,
    "a view": lambda array: array[1:3],
    "a view of a view": lambda array: array[1:].reshape(1, -1)[:, ::2],
    "a tensor": torch.from_numpy,
    "a tensor's array": lambda array: torch.from_numpy(array)[2:].numpy(),
    "a buffer": memoryview,
    "a list": lambda array: [array],
}


class Careless(Recycled):
    """The broken twin: after four of a kind it hands out the first again, whoever holds it."""

    def __init__(self):
        super().__init__()
        self._made = defaultdict(deque)

    def empty(self, length, dtype):
        made = self._made[length, dtype]
        made.append(np.empty(length, dtype) if len(made) < 4 else made.popleft())
        made[-1].setflags(write=True)
        return made[-1]


def overwrites(memory, hold):
    """Return whether what is held changes as more is asked for and written."""
    array = memory.empty(5, np.float32)
    array[:] = 1
    held = hold(array)
    del array
    for _ in range(20):
        memory.empty(5, np.float32)[:] = 2
    return bool((np.asarray(held) == 2).any())


@pytest.mark.parametrize("hold", HOLDS)
def test_what_somebody_holds_is_not_written_over(hold):
    assert not overwrites(Recycled(), HOLDS[hold])
    assert overwrites(Careless(), HOLDS[hold])


def test_what_nobody_holds_serves_again_for_the_same_length_and_type_and_is_writable():
    memory = Recycled()
    places = set()
    for _ in range(5):
        array = memory.empty(7, np.float32)
        array[:] = 1
        array.setflags(write=False)
        places.add(id(array))
        del array
    assert len(places) == 1
    assert {id(memory.empty(8, np.float32)), id(memory.empty(7, np.float64))}.isdisjoint(places)


def test_arrays_that_many_hold_are_forgotten():
    memory = Recycled()
    held = [memory.empty(7, np.float32) for _ in range(100)]
    assert len({id(array) for array in held}) == 100 > 10 > len(memory._arrays)
