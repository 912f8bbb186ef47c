"""Discrete Laplace noise on the integers, number by number (DESIGN §7.4): P(z) ∝ exp(−rate·|z|), exactly.

The difference of two one-sided geometric draws of the same rate has this distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fedgenome.secure import geometric
from fedgenome.streams import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Laplace:
    """Vectors of independent discrete Laplace draws.

    Attributes:
        coordinates: K, numbers of a vector.
        rate: Of each number.
    """

    coordinates: int
    rate: Fraction

    @property
    def slack(self) -> float:
        """By how much a ratio of probabilities may pass what the rate says, in ε: not at all."""
        return 0.0

    @property
    def delta(self) -> float:
        """Bound on the total variation to the exact distribution, a vector."""
        return 2 * self.coordinates * geometric.sampler(self.rate).total_variation

    def draw(self, streams: Sequence[Stream]) -> npt.NDArray[np.int64]:
        """Return one vector a stream, (len(streams), K)."""
        sampler, out = geometric.sampler(self.rate), np.empty((len(streams), self.coordinates), np.int64)
        for row, stream in zip(out, streams, strict=True):
            both = sampler.draw(2 * self.coordinates, stream)
            np.subtract(both[: self.coordinates], both[self.coordinates :], out=row)
        return out
