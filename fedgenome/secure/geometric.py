"""One-sided geometric noise (DESIGN §5, *select*; §7.4): integers only, from a keyed stream.

P(K = k) ∝ exp(−rate·k) on 0, 1, 2, …. The binary digits of such a K are independent, and digit i is 1
with probability 1/(1 + exp(rate·2^i)): each is one 64-bit word compared with a threshold. Thresholds
are exact to 320 bits; a word that equals the top 64 bits of its own (chance 2^-64) is finished with 256
bits more. There is no convolution, no rejection and no floating point.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fedgenome.errors import require
from fedgenome.streams import Stream

BITS = 320  # of a threshold
_WORD_BITS = 64
_MORE_BITS = BITS - _WORD_BITS
_TAIL = 222  # exp(−222) < 2^-320: digits beyond are zero
_MOST_DIGITS = 62
_BLOCK = 1 << 15  # draws at a time: buffers stay in cache


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampler:
    """Draws of the one-sided geometric distribution.

    Attributes:
        rate: P(K = k) ∝ exp(−rate·k).
        thresholds: P(digit i is 1) in units of 2^-320, rounded down, for each digit.
    """

    rate: Fraction
    thresholds: tuple[int, ...]

    @property
    def total_variation(self) -> float:
        """Bound on the total variation to the exact distribution, per number drawn: below 1e-94."""
        return (len(self.thresholds) + 1) * 2.0**-BITS

    def draw(self, n: int, stream: Stream) -> npt.NDArray[np.int64]:
        """Return ``n`` independent draws, int64."""
        total = np.zeros(n, np.int64)
        for start in range(0, n, _BLOCK):
            block = total[start : start + _BLOCK]
            words = np.empty(block.size, np.uint64)
            for digit, threshold in enumerate(self.thresholds):
                stream.fill(words)
                block += _below(words, threshold, stream).astype(np.int64) << digit
        return total


@functools.lru_cache(maxsize=64)
def sampler(rate: Fraction) -> Sampler:
    """Return the sampler of P(K = k) ∝ exp(−rate·k).

    Raises:
        SpecError: the rate is not positive, or so small that draws would not fit 62 bits.

    >>> round(sampler(Fraction(1, 2)).thresholds[0] / 2**BITS, 6)  # 1/(1 + exp(1/2))
    0.377541
    """
    require(rate > 0, "a positive rate", rate=float(rate))
    digits = max(1, math.ceil(math.log2(_TAIL / rate)))
    require(digits <= _MOST_DIGITS, f"draws below 2^{_MOST_DIGITS}", rate=float(rate))
    return Sampler(rate=rate, thresholds=tuple(_threshold(rate * 2**digit) for digit in range(digits)))


def _threshold(x: Fraction) -> int:
    """Return 2^320/(1 + exp(x)) for x > 0, right to within one unit."""
    context = Context(prec=130)
    power = context.exp(context.divide(Decimal(-x.numerator), Decimal(x.denominator)))
    share = context.divide(power, context.add(power, Decimal(1)))
    return int(context.multiply(share, Decimal(1 << BITS)))


def _below(words: npt.NDArray[np.uint64], threshold: int, stream: Stream) -> npt.NDArray[np.bool_]:
    """Return whether each word, with as many more bits as it takes, is below the threshold."""
    top = np.uint64(threshold >> _MORE_BITS)
    below = words < top
    for at in np.flatnonzero(words == top):
        below[at] = int.from_bytes(stream.read(_MORE_BITS // 8), "little") < threshold % (1 << _MORE_BITS)
    return below
