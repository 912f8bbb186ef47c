"""Noise drawn ahead: the next query's while the caller computes this one's answer.

NumPy and the cipher let go of the interpreter while they work, so that a second core takes the noise away.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from fedgenome.closing import Closing
from fedgenome.errors import require
from fedgenome.secure.noise import Sampler
from fedgenome.secure.ring import Words
from fedgenome.streams import Stream


class Ahead(Closing):
    """Vectors of noise, each used once and drawn while the one before is in use.

    What is drawn and never taken is thrown away.

    Args:
        sampler: Of the noise.
        length: Numbers in a vector.
        width: Bits of the ring, 32 or 64.
        stream: Where all vectors come from, in the order they are taken.
    """

    def __init__(self, sampler: Sampler, length: int, width: int, stream: Stream) -> None:
        self._sampler, self._length, self._width, self._stream = sampler, length, width, stream
        require(width in (32, 64), "a ring of 32 or 64 bits", width=width)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="noise")
        self._next = self._begin()

    def take(self) -> Words:
        """Return the next vector (length,), and begin the one after."""
        drawn = self._next.result()
        self._next = self._begin()
        return drawn

    def close(self) -> None:
        """End the thread, after the vector it is drawing."""
        self._thread.shutdown(cancel_futures=True)

    def _begin(self) -> Future[Words]:
        return self._thread.submit(self._draw)

    def _draw(self) -> Words:
        words: Words = np.zeros(self._length, np.uint32) if self._width == 32 else np.zeros(self._length, np.uint64)
        self._sampler.add_to(words, self._stream)
        return words
