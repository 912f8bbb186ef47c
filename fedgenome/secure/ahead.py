"""Noise drawn ahead: by a second thread, while the caller computes what it will be added to.

NumPy and the cipher let go of the interpreter while they work, so that a second core takes the noise away.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fedgenome.errors import require
from fedgenome.secure.noise import Sampler
from fedgenome.secure.ring import Words
from fedgenome.streams import Stream

_WORTH = 1 << 14  # fewer numbers are drawn before another thread has begun


class Ahead:
    """One vector of noise, which begins to be drawn when this is made and can be added once.

    What is never added is thrown away: its thread ends with the vector.

    Args:
        sampler: Of the noise.
        length: Numbers in the vector.
        width: Bits of the ring, 32 or 64.
        stream: Where it comes from; nobody else reads it.
    """

    def __init__(self, sampler: Sampler, length: int, width: int, stream: Stream) -> None:
        require(width in (32, 64), "a ring of 32 or 64 bits", width=width)
        self._sampler, self._length, self._width, self._stream = sampler, length, width, stream
        self._taken = False
        self._drawn = None
        if length >= _WORTH:
            thread = ThreadPoolExecutor(1, thread_name_prefix="noise")
            self._drawn = thread.submit(self._draw)
            thread.shutdown(wait=False)  # it ends once it has drawn

    def add_to(self, words: Words) -> None:
        """Add the vector to ``words`` (length,), mod 2^w, in place.

        Raises:
            SpecError: it was added before, or ``words`` are of another length or width.
        """
        fits = words.size == self._length and 8 * words.itemsize == self._width
        require(fits, f"{self._length} words of {self._width} bits", words=words.size, bits=8 * words.itemsize)
        require(
            not self._taken, "noise that was never added before: two sums with the same noise show their difference"
        )
        self._taken = True
        words += self._draw() if self._drawn is None else self._drawn.result()
        self._drawn = None

    def _draw(self) -> Words:
        words: Words = np.zeros(self._length, np.uint32) if self._width == 32 else np.zeros(self._length, np.uint64)
        self._sampler.add_to(words, self._stream)
        return words
