"""The integer ring Z_2^w in which contributions are summed (DESIGN §5, *Ring*).

Words are unsigned and wrap by definition. A number x of the model stands as round(x·s) with s the
query's power-of-two scale; negative numbers are two's complement. On the wire and in masks words are
little-endian, which is the order of every machine fedgenome runs on.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fedgenome.errors import RoleError, require

Words = npt.NDArray[np.uint32] | npt.NDArray[np.uint64]

_BLOCK = 1 << 14  # float64 of a block stay in the second-level cache


def dtype_of(width: int) -> type[np.uint32] | type[np.uint64]:
    """Return the unsigned type of a ring of ``width`` bits.

    Raises:
        SpecError: ``width`` is neither 32 nor 64.
    """
    require(width in (32, 64), "a ring of 32 or 64 bits", width=width)
    return np.uint32 if width == 32 else np.uint64


def encode(total: npt.NDArray[np.float64], scale: float, width: int) -> Words:
    """Return a site's sum as ring words: each number times ``scale``, rounded to the nearest integer.

    Scaling by a power of two is exact, so a coordinate moves by at most 1/2 (what Query.sensitivity
    charges).

    Args:
        total: (n,) float64, model units.
        scale: Ring units per model unit, a power of two.
        width: Bits of the ring, 32 or 64.

    Returns:
        (n,) uint32 or uint64, two's complement.

    Raises:
        SpecError: the scale is no power of two, or a number is not finite or not below 2^(width-2)
            ring units. Which one, and what it was, is not said: that is a donor's.

    >>> encode(np.array([1.5, -0.25]), 4.0, 32)
    array([         6, 4294967295], dtype=uint32)
    """
    require(total.ndim == 1, "a vector of one axis", shape=total.shape)
    require(width in (32, 64), "a ring of 32 or 64 bits", width=width)
    require(0 < scale < math.inf and math.frexp(scale)[0] == 0.5, "a scale that is a power of two", scale=scale)
    words: Words = np.empty(total.size, np.uint32) if width == 32 else np.empty(total.size, np.uint64)
    integers = words.view(np.int32 if width == 32 else np.int64)
    scratch = np.empty(min(_BLOCK, total.size))
    bound = 2.0 ** (width - 2)
    for start in range(0, total.size, _BLOCK):
        block = scratch[: min(_BLOCK, total.size - start)]
        with np.errstate(over="ignore"):  # an overflow is infinite, which the next line refuses
            np.multiply(total[start : start + _BLOCK], scale, out=block)
        inside = -bound < block.min() and block.max() < bound  # false with a NaN too
        require(bool(inside), f"a sum of finite numbers below 2^{width - 2} ring units")
        np.rint(block, out=block)
        integers[start : start + block.size] = block
    return words


def signed(words: Words) -> npt.NDArray[np.int64]:
    """Return ``words`` (n,) read as two's complement, as int64 (n,) of its own."""
    return _twos_complement(words).astype(np.int64)


def decode(words: Words, scale: float, width: int) -> npt.NDArray[np.float64]:
    """Return the float64 (n,) that ``words`` (n,) stand for, in model units.

    Exact below 2^53 ring units; beyond, rounded to float64.

    Raises:
        SpecError: the words are not of ``width`` bits.
    """
    require(words.dtype == dtype_of(width), f"words of {width} bits", dtype=str(words.dtype))
    numbers: npt.NDArray[np.float64] = _twos_complement(words) / scale
    return numbers


def check_range(words: Words, limit: float) -> None:
    """Refuse an opened sum that no honest run can give: a wrap, a garbled share or a bad vector.

    Args:
        words: (n,) uint32 or uint64, the opened sum.
        limit: Largest magnitude allowed (``Query.limit``).

    Raises:
        RoleError: a coordinate is beyond ``limit``.
    """
    integers = _twos_complement(words)
    if -limit <= integers.min(initial=0) and integers.max(initial=0) <= limit:
        return
    outside = (integers > limit) | (integers < -limit)
    raise RoleError(
        f"sum outside its declared range: {np.count_nonzero(outside)} of {integers.size} coordinates beyond "
        f"±{limit:.6g} ring units, the first at {np.argmax(outside)}; a site or party sent a bad vector or share"
    )


def as_words(buffer: bytes | memoryview, width: int) -> Words:
    """Return the words that ``buffer`` holds, little-endian, without copying."""
    return np.frombuffer(buffer, np.uint32) if width == 32 else np.frombuffer(buffer, np.uint64)


def _twos_complement(words: Words) -> npt.NDArray[np.int32] | npt.NDArray[np.int64]:
    return words.view(np.int32) if words.itemsize == 4 else words.view(np.int64)
