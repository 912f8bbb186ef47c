"""Exact discrete Gaussian noise (DESIGN §5, *Joint noise*; §7.4): integers only, from a keyed stream.

P(X = x) ∝ exp(−x²/2σ²) on the integers. A draw reads one 16-bit word. Each of the 2^16 words stands for
one value, as many words a value as its chance fills (Marsaglia 1963), but for the L = 2^l lowest words:
they stand for what is left over of all chances, and are drawn anew from an alias table (Walker 1977; Vose
1991) by one 64-bit word. Its top bits choose one of N = 2^b equally likely cells, the rest say whether
the cell's own value or its alias is meant. The bars between the two are exact to 256 bits. A word that
equals the top 64 bits of its cell's bar (chance 2^(b−64)) is finished with 192 bits more.

Large σ by convolution (Micciancio & Walter, CRYPTO 2017): X ← k·X + X_i over m digits, each from the
table of σ₀ with σ₀²·(1 + k² + … + k^(2m−2)) = σ² exactly and k ≤ σ₀/2. How far all this is from the
exact distribution is :attr:`Sampler.total_variation`.

Which table entry is read depends on the noise, and how many words are drawn anew on how many were low:
whoever shares a cache with a party may learn from it. That is accepted.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from fedgenome.errors import require
from fedgenome.secure.ring import Words
from fedgenome.streams import Stream

LEAST_SIGMA = 4.0  # below, neither a party's noise alone nor a convolution is close to Gaussian
_MOST_SIGMA = 2.0**58
_MASS_BITS = 256  # a table's probabilities are multiples of 2^-256
_SHORT_BITS = 16
_WORD_BITS = 64
_MORE_BITS = _MASS_BITS - _WORD_BITS
_MORE = _MORE_BITS // _WORD_BITS
_FIXED_BITS = 320  # fixed point of the recursion; 2^14 steps leave an error under 2^-290
_TAIL = 12.0  # a table reaches at least so many σ₀: 2·exp(-72) is cut off
_MOST_BITS = 13  # a larger table takes longer to build and megabytes, and saves a digit that costs as little
_BLOCK = 1 << 16  # draws at a time: calls cost little, buffers stay within a megabyte


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """The table of a discrete Gaussian cut at ±(N/2 − 1), in two stages.

    Cell i of the alias table is value i − N/2. A word of cell i means i below ``bar[i]`` and the alias above.

    Attributes:
        value: (2^16,) int16, the value of a short word that is not low.
        low: L, a power of two: shorter words are drawn anew.
        bits: b; the alias table has N = 2^b cells.
        bar: (N,) uint64, top 64 bits of the bar, cell number included.
        exact: Each bar within its cell, in units of 2^-256 of the alias table.
        jump: (N,) int64, alias minus cell.
    """

    value: npt.NDArray[np.int16]
    low: int
    bits: int
    bar: npt.NDArray[np.uint64]
    exact: tuple[int, ...]
    jump: npt.NDArray[np.int64]

    def draw(self, out: npt.NDArray[np.int16], stream: Stream, scratch: Scratch) -> None:
        """Fill ``out`` with values: a short word of the stream each, then a word for each low one."""
        short, index = scratch.short[: out.size], scratch.index[: out.size]
        stream.fill(short)
        np.copyto(index, short)
        # "clip" skips the bounds check: there is a value for every short word.
        np.take(self.value, index, out=out, mode="clip")
        low = np.flatnonzero(short < self.low)
        if low.size:
            out[low] = self._draw_cells(low.size, stream) - (1 << (self.bits - 1))

    def _draw_cells(self, n: int, stream: Stream) -> npt.NDArray[np.int64]:
        """Return ``n`` cell numbers: one word of the stream each, and three more when undecided."""
        words, out = stream.words(n), np.empty(n, np.int64)
        at = self.look_up(words, out)
        while at < n:
            following = np.concatenate([words[at + 1 :], stream.words(_MORE)])
            out[at] = self.finish(int(words[at]), int.from_bytes(following[:_MORE].tobytes(), "little"))
            at += 1
            words[at:] = following[_MORE:]
            at += self.look_up(words[at:], out[at:])
        return out

    def look_up(self, words: npt.NDArray[np.uint64], out: npt.NDArray[np.int64]) -> int:
        """Write the cell number each word gives to ``out`` and return the first undecided position.

        That is ``words.size`` when all are decided; positions after an undecided one hold nothing.
        """
        cell = (words >> np.uint64(_WORD_BITS - self.bits)).view(np.int64)
        gap = np.take(self.bar, cell, mode="clip") - words  # the top bits agree, so the sign is right
        first = words.size if gap.min(initial=1) else int(np.argmin(gap))
        above = gap.view(np.int64) >> 63  # all ones above the bar, else zero
        np.take(self.jump, cell, out=out, mode="clip")
        np.bitwise_and(out, above, out=out)
        np.add(out, cell, out=out)
        return first

    def finish(self, word: int, more: int) -> int:
        """Return the cell number of an undecided ``word`` by its next 192 bits."""
        cell = word >> (_WORD_BITS - self.bits)
        return cell if more < self.exact[cell] % (1 << _MORE_BITS) else cell + int(self.jump[cell])


class Scratch:
    """Buffers for one block of draws."""

    __slots__ = ("index", "short", "value")

    def __init__(self, draws: int) -> None:
        self.short = np.empty(draws, np.uint16)
        self.index = np.empty(draws, np.int64)
        self.value = np.empty(draws, np.int16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sampler:
    """Draws of the discrete Gaussian of standard deviation parameter ``sigma``, in ring units.

    Attributes:
        sigma: σ of exp(−x²/2σ²).
        base: k of the convolution.
        digits: m, draws per number.
        table: Shared by all digits.
    """

    sigma: float
    base: int
    digits: int
    table: Table = field(repr=False)

    @property
    def total_variation(self) -> float:
        """Bound on the total variation to the exact distribution, per number drawn.

        Cut-off and rounding of the table for each digit (tail of a σ-subgaussian), and per convolution
        2ε/(1 − ε) with ε = 2·Σ exp(−2π²vj²), v = 1/(1/σ_Y² + k²/σ₀²): the smoothing of the lattice k·Z.
        """
        sigma = self.sigma / math.sqrt(_power_sum(self.base, self.digits))
        half = 1 << (self.table.bits - 1)
        cut = 2 * math.exp(-((half / sigma) ** 2) / 2) + 2.0 ** (self.table.bits + 1 - _MASS_BITS)
        smoothing = 0.0
        for digits in range(1, self.digits):
            wide = sigma**2 * _power_sum(self.base, digits)
            v = 1 / (1 / wide + self.base**2 / sigma**2)
            epsilon = 2.001 * math.exp(-2 * math.pi**2 * v)  # terms j > 1 are far below a thousandth
            smoothing += 2 * epsilon / (1 - epsilon)
        return self.digits * cut + smoothing

    def draw(self, n: int, stream: Stream) -> npt.NDArray[np.int64]:
        """Return ``n`` independent draws, int64."""
        draws = np.zeros(n, np.uint64)
        self.add_to(draws, stream)
        return draws.view(np.int64)

    def add_to(self, accumulator: Words, stream: Stream) -> None:
        """Add one independent draw to each word of ``accumulator`` (n,), mod 2^w, in place.

        The draws depend on the stream and on their number only, not on w.
        """
        total: Any = accumulator.view(np.int32 if accumulator.itemsize == 4 else np.int64)
        size = min(max(1, _BLOCK // self.digits), max(1, total.size))
        scratch, number = Scratch(size * self.digits), np.empty(size, total.dtype)
        for start in range(0, total.size, size):
            block = total[start : start + size]
            digits = scratch.value[: block.size * self.digits]
            self.table.draw(digits, stream, scratch)
            wide = number[: block.size]
            wide.fill(0)
            for digit in digits.reshape(self.digits, -1):
                wide *= self.base
                wide += digit
            block += wide


@functools.lru_cache(maxsize=16)
def sampler(sigma: float) -> Sampler:
    """Return the sampler for ``sigma``, in ring units; built once (1–50 ms).

    Raises:
        SpecError: ``sigma`` is not in [4, 2^58].

    >>> sampler(4104.0)
    Sampler(sigma=4104.0, base=45, digits=2)
    """
    require(LEAST_SIGMA <= sigma <= _MOST_SIGMA, f"{LEAST_SIGMA:g} <= sigma <= 2^58", sigma=sigma)
    return _build(sigma, *_decompose(sigma))


def _build(sigma: float, base: int, digits: int) -> Sampler:
    # σ₀² = σ² / Σ k^(2i) as an exact fraction: a rounded σ₀ would be another distribution.
    variance = Fraction(sigma) ** 2 / _power_sum(base, digits)
    return Sampler(sigma=sigma, base=base, digits=digits, table=_table(variance, _bits(variance)))


def _decompose(sigma: float) -> tuple[int, int]:
    """Return base k and digits m: the fewest digits whose table is small enough, with k ≤ σ₀/2."""
    base, digits = 1, 1
    while _bits(Fraction(sigma) ** 2 / _power_sum(base, digits)) > _MOST_BITS:
        digits += 1
        base = _largest_base(sigma, digits)
    return base, digits


def _bits(variance: Fraction) -> int:
    """Return b of the smallest table that reaches 12 σ₀ on either side."""
    return math.ceil(math.log2(2 * (_TAIL * math.sqrt(variance) + 1)))


def _largest_base(sigma: float, digits: int) -> int:
    base = int((sigma / 2) ** (1 / digits)) + 2  # too large: k^m is at most σ/2
    while 4 * base**2 * _power_sum(base, digits) > Fraction(sigma) ** 2:  # k > σ₀/2
        base -= 1
    return base


def _power_sum(base: int, digits: int) -> int:
    return sum(base ** (2 * i) for i in range(digits))


def _table(variance: Fraction, bits: int) -> Table:
    """Build the table of exp(−x²/2·variance) with 2^bits cells; integer arithmetic throughout."""
    masses = _masses(variance, 1 << (bits - 1))
    counts, low = _counts(masses)
    # What is left over adds up to low·2^240: scaled to 2^256, exactly, as low is a power of two.
    short = _MASS_BITS - _SHORT_BITS
    for i, n in enumerate(counts):  # in place: a party holds two megabytes of these numbers
        masses[i] = ((masses[i] - (n << short)) << _SHORT_BITS) // low
    bars, aliases = _alias(masses, 1 << (_MASS_BITS - bits))
    cell = np.arange(len(masses))
    top = np.array([bar >> _MORE_BITS for bar in bars], np.uint64)
    bar = top + (cell.astype(np.uint64) << np.uint64(_WORD_BITS - bits))
    value = np.zeros(1 << _SHORT_BITS, np.int16)
    value[low:] = np.repeat((cell - len(masses) // 2).astype(np.int16), counts)
    return Table(value=value, low=low, bits=bits, bar=bar, exact=tuple(bars), jump=np.array(aliases) - cell)


def _counts(masses: list[int]) -> tuple[list[int], int]:
    """Return how many short words stand for each value, and how many, a power of two, for none."""
    counts = [mass >> (_MASS_BITS - _SHORT_BITS) for mass in masses]
    spare = (1 << _SHORT_BITS) - sum(counts)
    low = 1 << max(spare - 1, 0).bit_length()
    # One word each from the likeliest values, and again, until that many are spare.
    likeliest = np.argsort(np.abs(np.arange(len(masses)) - len(masses) // 2), kind="stable")
    while spare < low:
        for i in likeliest[: low - spare].tolist():
            counts[i] -= counts[i] > 0
        spare = (1 << _SHORT_BITS) - sum(counts)
    return counts, low


def _masses(variance: Fraction, half: int) -> list[int]:
    """Return P(x)·2^256 for x = −half … half − 1, rounded to integers that add up to 2^256.

    −half itself gets nothing, so that the rest is symmetric.
    """
    one = 1 << _FIXED_BITS
    ratio = _exp(-1 / (2 * variance))  # exp(−(x + ½)/variance) at x = 0: p(1)/p(0)
    step = ratio * ratio >> _FIXED_BITS
    weights = [one]
    for _ in range(half - 1):
        weights.append(weights[-1] * ratio >> _FIXED_BITS)
        ratio = ratio * step >> _FIXED_BITS
    total = 2 * sum(weights) - one
    unit = (1 << (_FIXED_BITS + _MASS_BITS)) // total
    side = [weight * unit >> _FIXED_BITS for weight in weights[1:]]
    return [0, *reversed(side), (1 << _MASS_BITS) - 2 * sum(side), *side]


def _exp(x: Fraction) -> int:
    """Return exp(x)·2^320 for x ≤ 0, rounded down; right to within one unit."""
    context = Context(prec=110)
    power = context.exp(context.divide(Decimal(x.numerator), Decimal(x.denominator)))
    return int(context.multiply(power, Decimal(1 << _FIXED_BITS)))


def _alias(masses: list[int], cell: int) -> tuple[list[int], list[int]]:
    """Split masses over equal cells (Vose): cell i gives i below ``bars[i]``, else ``aliases[i]``.

    ``masses`` is used up.
    """
    left = masses  # written over: as much memory again would stay with the process
    bars, aliases = [0] * len(masses), list(range(len(masses)))
    small = [i for i, mass in enumerate(masses) if mass < cell]
    large = [i for i, mass in enumerate(masses) if mass >= cell]
    while small:
        poor, rich = small.pop(), large[-1]
        bars[poor], aliases[poor] = left[poor], rich
        left[rich] -= cell - left[poor]
        if left[rich] < cell:
            small.append(large.pop())
    return bars, aliases
