"""Noise drawn ahead is the noise that would have been drawn in turn."""

import threading

import numpy as np
import pytest

from fedgenome.errors import SpecError
from fedgenome.secure import noise
from fedgenome.secure.ahead import Ahead
from fedgenome.streams import Stream

SAMPLER = noise.sampler(20.0)


@pytest.mark.parametrize(("width", "dtype"), [(32, np.uint32), (64, np.uint64)])
def test_vectors_are_those_of_one_stream_in_turn(width, dtype):
    with Ahead(SAMPLER, 1000, width, Stream(bytes(32))) as ahead:
        taken = [ahead.take() for _ in range(3)]
    stream = Stream(bytes(32))
    right = [SAMPLER.draw(1000, stream).astype(dtype) for _ in range(3)]
    assert np.array_equal(taken, right) and taken[0].dtype == dtype


def test_vectors_are_the_callers_own():
    with Ahead(SAMPLER, 100, 64, Stream(bytes(32))) as ahead:
        first = ahead.take()
        kept = first.copy()
        ahead.take()
    assert np.array_equal(first, kept)


def test_leaving_ends_the_thread():
    with Ahead(SAMPLER, 100, 64, Stream(bytes(32))) as ahead:
        ahead.take()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("noise")]


def test_ring_of_another_width_is_refused():
    with pytest.raises(SpecError, match="a ring of 32 or 64 bits, got width=16"):
        Ahead(SAMPLER, 100, 16, Stream(bytes(32)))
