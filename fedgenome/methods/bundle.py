"""Several statistics in one question: each clipped on its own, in its own units, with a share of the budget.

Two Gaussian sums with noise multipliers z/√a and z/√b cost what one with z/√(a + b) costs (zCDP adds up). So a
part of share a and L2 bound C travels as √(a / Σ shares)/C times itself: the whole has norm at most 1, one noise
serves all, and each part gets the noise that its share pays for. Clipped together instead, a large part would
shorten the others.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedgenome.errors import require
from fedgenome.privacy.clipping import ClippedSum, Product, sum_products
from fedgenome.query import Array

Floats = npt.NDArray[np.float64]
Rows = Array | Product  # (rows, part.length) as they are, or as outer products, row by row


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One statistic of a donor's row.

    Attributes:
        name: What :meth:`Bundle.parts` calls it.
        length: Its numbers.
        bound: C, the L2 bound it is clipped to, in its own units.
        share: Of the method's budget; shares of all bundles add up to 1.
    """

    name: str
    length: int
    bound: float
    share: float

    def __post_init__(self) -> None:
        require(self.length >= 1 and self.bound > 0 and self.share > 0, "a part of some length, bound and share")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Parts that are asked for together. A donor's vector has a norm of at most 1."""

    statistics: tuple[Part, ...]

    @functools.cached_property
    def share(self) -> float:
        """Share of the method's budget."""
        return math.fsum(part.share for part in self.statistics)

    @property
    def length(self) -> int:
        """Numbers in all."""
        return sum(part.length for part in self.statistics)

    def weight(self, part: Part) -> float:
        """Return what ``part`` is multiplied with."""
        return math.sqrt(part.share / self.share) / part.bound

    def answer(self, make: Callable[[Array], Mapping[str, Rows]], donor: Array) -> ClippedSum:
        """Return the sum over donors of the mean of their rows' parts, each part of a row clipped on its own.

        Args:
            make: From indices of rows to every part of theirs by name. Not finite: no row.
            donor: int64 (rows,), whose row it is.
        """

        def products(at: Array) -> list[Product]:
            made = make(at)
            return [_shortened(made[part.name], part.bound, self.weight(part)) for part in self.statistics]

        return sum_products(products, donor, np.ones(len(donor), np.bool_), 1.0)

    def parts(self, total: Array) -> dict[str, Floats]:
        """Return each part's sum in its own units, (part.length,) by name."""
        ends = np.cumsum([part.length for part in self.statistics])[:-1]
        pieces = np.split(np.asarray(total, np.float64), ends)
        return {part.name: piece / self.weight(part) for part, piece in zip(self.statistics, pieces, strict=True)}

    def deviation(self, name: str, noise: float) -> float:
        """Return the noise's standard deviation in a number of part ``name``, in its own units.

        Args:
            noise: Noise multiplier of a query that had the whole budget.
        """
        part = next(part for part in self.statistics if part.name == name)
        return noise * part.bound / math.sqrt(part.share)


def clip(rows: Array, bound: float) -> Floats:
    """Return each row (n, numbers) shortened to ``bound`` where it is longer. A row with NaN stays one."""
    rows = np.asarray(rows, np.float64)
    with np.errstate(all="ignore"):  # a crafted payload may overflow: no row
        norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        return np.asarray(rows * (bound / np.maximum(norms, bound))[:, None])


def _shortened(rows: Rows, bound: float, weight: float) -> Product:
    """Return ``rows`` clipped to ``bound``, times ``weight``, as a product."""
    left, right = rows if isinstance(rows, tuple) else (np.ones((len(rows), 1)), rows)
    with np.errstate(all="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", left, left))
        norms = norms * (norms if right is None else np.sqrt(np.einsum("ij,ij->i", right, right)))
        factor = weight * bound / np.maximum(norms, bound)
        return left * (np.sqrt(factor) if right is None else factor)[:, None], right


def matrix(triangle: Array, k: int) -> Floats:
    """Return the symmetric (k, k) matrix whose :func:`~fedgenome.privacy.clipping.upper` form is ``triangle``."""
    upper = np.triu_indices(k)
    full = np.zeros((k, k))
    full[upper] = triangle / np.where(upper[0] == upper[1], 1.0, math.sqrt(2))
    return full + np.triu(full, 1).T
