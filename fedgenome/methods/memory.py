"""Memory of large arrays that serves again.

What the system hands out anew, it clears page by page: without huge pages that can cost more than what is computed.
"""

from __future__ import annotations

import sys
from collections import deque

import numpy as np
import numpy.typing as npt

from fedgenome.query import Array

_KEPT = 8  # arrays: two states' weights and moments, a gradient, a sum
_IDLE = 3  # references to an array that nobody holds: the collection's, the loop's and the argument's


class Recycled:
    """Arrays that are handed out again once nobody holds them, or a view, tensor or buffer of them.

    All of these count as references to the array, as where NumPy writes over a temporary. Not for two threads at once.
    """

    def __init__(self) -> None:
        self._arrays: deque[Array] = deque(maxlen=_KEPT)

    def empty(self, length: int, dtype: npt.DTypeLike) -> Array:
        """Return an array (length,) that nobody else holds, writable, whatever is in it."""
        for array in self._arrays:
            if sys.getrefcount(array) == _IDLE and array.shape == (length,) and array.dtype == dtype:
                array.setflags(write=True)
                return array
        self._arrays.append(np.empty(length, dtype))
        return self._arrays[-1]
