"""Donors' gradients in one layer, from its inputs a and the gradients g of its outputs.

A :class:`Use` is one call of a layer within a loss. It can write down each donor's gradient (*dense*), or,
where that would take more room than a and g themselves, give norms and sums without it (*ghost*: Li et al.
2022; the choice by layer: Bu et al. 2022). Ghost norms and sums are in float64, because they cancel where a
donor's gradient does; dense ones need not be, because what is measured is what is added.

Rows lie donor by donor, equally many of each: a donor of several rows is one longer sequence.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_CANCELLED = 2.0**-40  # share of the positions' own norms added to a donor's: what rounding can hide in their sum
_GHOST_COST = 2  # ghost sums are in float64, which costs about twice as much
_CHUNK = 128  # positions that are in float64 at a time: they stay in cache
_TALL = 128  # rows of a product that are made at a time
_AT_ONCE = 1 << 18  # numbers that are


class Total:
    """A parameter's sum over donors. Its memory holds nothing until something is added.

    Args:
        memory: (numbers,) float64.
    """

    __slots__ = ("_memory", "empty")

    def __init__(self, memory: Tensor) -> None:
        self._memory, self.empty = memory, True

    def end(self) -> Tensor:
        """Return the sum, (numbers,): zeros if nothing was added."""
        if self.empty:
            self._memory.zero_()
            self.empty = False
        return self._memory

    def add(self, numbers: Tensor) -> None:
        """Add (numbers,)."""
        (self._memory.copy_ if self.empty else self._memory.add_)(numbers)
        self.empty = False

    def add_float32(self, left: Tensor, right: Tensor) -> None:
        """Add a matrix product in float32, some rows at a time: what was made is read before it leaves the cache."""
        memory = self._memory.view(len(left), -1)
        for first in range(0, len(left), _TALL):
            part = memory[first : first + _TALL]
            (part.copy_ if self.empty else part.add_)(torch.mm(left[first : first + _TALL], right))
        self.empty = False

    def add_product(self, left: Tensor, right: Tensor) -> None:
        """Add a matrix product in float64."""
        memory = self._memory.view(len(left), -1)
        memory.addmm_(left, right, beta=0 if self.empty else 1)
        self.empty = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Use(ABC):
    """One use of a layer whose donors' gradients are written down.

    Attributes:
        names: Of its parameters, weight first.
        donors: How many the rows belong to.
        a: (rows, ...) its inputs.
    """

    names: tuple[str, ...]
    donors: int
    a: Tensor

    @property
    def ghost(self) -> bool:
        """Whether norms and sums cost less room than donors' gradients."""
        return False

    def part(self, rows: Tensor, first: int, last: int) -> Tensor:
        """Return the rows of some donors, (donors, rows a donor, ...)."""
        return rows.reshape(self.donors, -1, *rows.shape[1:])[first:last]

    @abstractmethod
    def dense(self, g: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Return the gradients of donors ``first`` to ``last``, (donors, numbers) float32 for each name."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ghost(Use):
    """A use that can also do without donors' gradients."""

    @abstractmethod
    def squared_norms(self, g: Tensor) -> Tensor:
        """Return the squared norms of the donors' gradients, (donors,) float64."""

    @abstractmethod
    def add(self, g: Tensor, factors: Tensor, totals: Sequence[Total], together: int) -> None:
        """Add donors' gradients times ``factors`` (donors,) to ``totals``, (numbers,) float64 a name.

        Args:
            together: Donors that may be added in float32; 0: all sums in float64.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear(Ghost):
    """Weight (out, in) and bias (out,) over a (rows, ..., in) and g (rows, ..., out): Σ g aᵀ and Σ g."""

    outputs: int

    def pair(self, g: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return what the weight was multiplied with (rows, ..., in), and g of the result (rows, ..., out)."""
        if last - first == self.donors:
            return self.a, g
        each = self.a.shape[0] // self.donors
        return self.a[first * each : last * each], g[first * each : last * each]

    @property
    def positions(self) -> tuple[int, int]:
        """Positions a donor, and inputs of each."""
        width = self.a.shape[-1]
        return self.a.numel() // (self.donors * width), width

    @property
    def ghost(self) -> bool:
        """Unless in·out < 2·T·(in + out) for T > 1 positions."""
        length, width = self.positions
        return length == 1 or width * self.outputs >= _GHOST_COST * length * (width + self.outputs)

    def dense(self, g: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """One matrix product a donor."""
        a, g = (t.reshape(last - first, -1, t.shape[-1]) for t in self.pair(g, first, last))
        return (torch.bmm(g.transpose(1, 2), a).flatten(1), g.sum(1))[: len(self.names)]

    def squared_norms(self, g: Tensor) -> Tensor:
        """Σ over pairs of positions of (gₛ·gₜ)(aₛ·aₜ + 1); one position has one pair."""
        a, g = self.pair(g, 0, self.donors)
        bias = float(len(self.names) > 1)
        squares = (squared_norms(g) * (squared_norms(a) + bias)).view(self.donors, -1)  # of a position's own gradient
        if squares.shape[1] == 1:
            return squares[:, 0]
        a, g = (t.reshape(self.donors, -1, t.shape[-1]).double() for t in (a, g))
        pairs = torch.bmm(g, g.transpose(1, 2)) * (torch.bmm(a, a.transpose(1, 2)) + bias)
        return pairs.sum((1, 2)).clamp(min=0) + squares.sqrt().sum(1).square() * _CANCELLED

    def add(self, g: Tensor, factors: Tensor, totals: Sequence[Total], together: int) -> None:
        """(c∘g)ᵀ a over all donors and positions; in float64 if a donor has several, as they may cancel."""
        a, g = (t.reshape(-1, t.shape[-1]) for t in self.pair(g, 0, self.donors))
        each = a.shape[0] // self.donors
        if together and each == 1:
            self._add_rows(a, g, factors.float(), totals, together)
            return
        weights = factors.repeat_interleave(each)[:, None]
        for first in range(0, a.shape[0], _CHUNK):
            some = slice(first, first + _CHUNK)
            scaled = g[some].double().mul_(weights[some])
            totals[0].add_product(scaled.t(), a[some].double())
            if len(self.names) > 1:
                totals[1].add(scaled.sum(0))

    def _add_rows(self, a: Tensor, g: Tensor, factors: Tensor, totals: Sequence[Total], together: int) -> None:
        """Add products of few donors in float32."""
        for first in range(0, len(a), together):
            some = slice(first, first + together)
            scale, left, right = factors[some], g[some], a[some]
            if len(self.names) > 1:
                totals[1].add(torch.mv(left.t(), scale))
            if right.shape[1] < self.outputs:  # the narrower of both is scaled
                right = right * scale[:, None]
            else:
                left = left * scale[:, None]
            totals[0].add_float32(left.t(), right)


def squared_norms(rows: Tensor) -> Tensor:
    """Return the squared norms of (..., numbers) float32, in float64: none overflows, so NaN or infinity tell all."""
    flat = rows.reshape(-1, rows.shape[-1])
    # A few rows at a time: in float64 they stay in cache, which is several times faster.
    step = max(1, _AT_ONCE // flat.shape[1])
    parts = [flat[first : first + step].double().square_().sum(1) for first in range(0, len(flat), step)]
    return torch.cat(parts).view(rows.shape[:-1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Convolution(Linear):
    """A Conv1d of one group: a Linear of windows. a (rows, in, length), g (rows, out, places)."""

    kernel: int
    stride: int
    padding: tuple[int, int]
    dilation: int

    def pair(self, g: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return windows (rows, places, in · kernel) and g (rows, places, out)."""
        a, g = Linear.pair(self, g, first, last)
        reach = (self.kernel - 1) * self.dilation + 1
        windows = functional.pad(a, self.padding).unfold(2, reach, self.stride)[..., :: self.dilation]
        columns = windows.transpose(2, 3).flatten(1, 2)  # from (rows, in, kernel, places), which copies
        return columns.transpose(1, 2), g.transpose(1, 2)

    @property
    def positions(self) -> tuple[int, int]:
        """Places a donor, and inputs of each window."""
        places = (self.a.shape[2] + sum(self.padding) - (self.kernel - 1) * self.dilation - 1) // self.stride + 1
        return len(self.a) // self.donors * places, self.a.shape[1] * self.kernel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scale(Use):
    """Weight and bias (features,) after a normalisation: Σ g∘a and Σ g; a and g (rows, ..., features).

    Attributes:
        channels: The dimension of the features.
    """

    channels: int

    def dense(self, g: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Products summed over positions."""
        a, g = (self.part(t.movedim(self.channels, -1), first, last).flatten(1, -2) for t in (self.a, g))
        return ((g * a).sum(1), g.sum(1))[: len(self.names)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lookup(Ghost):
    """Weight (entries, features): g of the positions that looked an entry up. a (rows, ...) int64.

    A ghost unless the weight is read elsewhere too: a donor's gradient has few entries.
    """

    entries: int
    skipped: int | None

    @property
    def ghost(self) -> bool:
        """Always: entries that nobody looked up are never written."""
        return True

    def _entries(self, g: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return donor · entries + entry of every place, and its gradient, (places, features)."""
        code = self.part(self.a, first, last).flatten(1)
        g = self.part(g, first, last).reshape(code.numel(), -1)
        if self.skipped is not None:
            g = g.masked_fill((code == self.skipped).reshape(-1, 1), 0)
        return (code + self.entries * torch.arange(last - first)[:, None]).flatten(), g

    def dense(self, g: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Gradients laid where they were looked up."""
        where, g = self._entries(g, first, last)
        rows = g.new_zeros((last - first) * self.entries, g.shape[1]).index_add_(0, where, g)
        return (rows.view(last - first, -1),)

    def _sums(self, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient of each (donor, entry) that occurs, its donor and its entry."""
        where, g = self._entries(g, 0, self.donors)
        found, place = torch.unique(where, return_inverse=True)
        sums = torch.zeros(len(found), g.shape[1], dtype=torch.float64).index_add_(0, place, g.double())
        return sums, found // self.entries, found % self.entries

    def squared_norms(self, g: Tensor) -> Tensor:
        """Over the entries that a donor looked up."""
        sums, donor, _ = self._sums(g)
        return torch.zeros(self.donors, dtype=torch.float64).index_add_(0, donor, sums.square().sum(1))

    def add(self, g: Tensor, factors: Tensor, totals: Sequence[Total], together: int) -> None:
        """Entry by entry."""
        sums, donor, entry = self._sums(g)
        totals[0].end().view(self.entries, -1).index_add_(0, entry, sums * factors[donor, None])
