"""Noise drawn ahead is the noise that would have been drawn in turn, and is added once."""

import threading

import numpy as np
import pytest

from fedgenome.errors import SpecError
from fedgenome.secure import noise
from fedgenome.secure.ahead import Ahead
from fedgenome.streams import Stream

SAMPLER = noise.sampler(20.0)


def ahead(length, width=64):
    return Ahead(SAMPLER, length, width, Stream(bytes(32)))


@pytest.mark.parametrize("length", [1000, 40_000])
@pytest.mark.parametrize(("width", "dtype"), [(32, np.uint32), (64, np.uint64)])
def test_vector_is_that_of_the_stream_added_mod_2_to_the_width(length, width, dtype):
    words = np.full(length, -3, np.int64).astype(dtype)
    ahead(length, width).add_to(words)
    right = SAMPLER.draw(length, Stream(bytes(32))) - 3
    assert np.array_equal(words, right.astype(dtype))


@pytest.mark.parametrize("length", [1000, 40_000])
def test_vector_is_added_once(length):
    drawn, words = ahead(length), np.zeros(length, np.uint64)
    drawn.add_to(words)
    kept = words.copy()
    with pytest.raises(SpecError, match="expected noise that was never added before"):
        drawn.add_to(words)
    assert np.array_equal(words, kept)


def test_long_vectors_are_drawn_without_being_asked_for_by_a_thread_that_ends():
    stream = Stream(bytes(32))
    Ahead(SAMPLER, 40_000, 64, stream)
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith("noise")]:
        thread.join()
    behind = Stream(bytes(32))
    SAMPLER.draw(40_000, behind)
    assert stream.read(16) == behind.read(16)


@pytest.mark.parametrize(
    ("words", "rule"), [(np.zeros(99, np.uint64), "words=99"), (np.zeros(100, np.uint32), "bits=32")]
)
def test_words_that_do_not_fit_are_refused(words, rule):
    with pytest.raises(SpecError, match=f"expected 100 words of 64 bits, got .*{rule}"):
        ahead(100).add_to(words)


def test_ring_of_another_width_is_refused():
    with pytest.raises(SpecError, match="a ring of 32 or 64 bits, got width=16"):
        ahead(100, 16)
