"""What sanitized rows promise: a record-level, metric guarantee, which is no (ε, δ) of a donor (DESIGN §7.6).

Rows are scaled from the public range to [0, 1], so that one unit of distance is one gene over its whole range. Of two
rows x, x′ whose kept coefficients lie d apart, any outcome S has

    P(S | x) ≤ e^(ε·d + η)·P(S | x′) + δ        d ≤ ‖x − x′‖₂ ≤ √genes

η pays for the grid: coefficients are rounded to multiples of 1/s before noise is added, each by at most 1/2s beside
what float arithmetic gets wrong, hence rounded vectors lie at most √K·(1/s + 2^-38) further apart. s is the least power
of two with ε·√K/s ≤ 2^-10. Laplace noise of scale √K/ε promises the same, because an L1 distance is at most √K times
the L2 one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from fedgenome.cohort.shard import Array
from fedgenome.errors import require
from fedgenome.sanitize.bases import BASES
from fedgenome.sanitize.laplace import Laplace
from fedgenome.sanitize.metric import Metric, metric
from fedgenome.study import Sanitize, Schema

_GRID_SHARE = 2.0**-10  # most that rounding may cost, in ε
_ARITHMETIC = 2.0**-38  # twice what a coefficient in float64 may be off, in units of the range
_PAIRS = 2000  # of rows, for a median distance


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """The numbers of one sanitizer on one schema; all of them public.

    Attributes:
        spec: What was asked for.
        genes: Width of a row.
        labels: Number of classes.
        low: Of the public range; ``high`` with it. Their difference is one unit of distance.
        rows_per_donor: Most rows of a donor, where the schema bounds them.
    """

    spec: Sanitize
    genes: int
    labels: int
    low: float
    high: float
    rows_per_donor: int | None = None

    @classmethod
    def of(cls, spec: Sanitize, schema: Schema) -> Guarantee:
        """Return what ``spec`` promises of rows of ``schema``."""
        rows = 1 if schema.unit == "row" else schema.rows_per_donor
        genes, labels = len(schema.genes), len(schema.labels)
        return cls(spec=spec, genes=genes, labels=labels, low=schema.low, high=schema.high, rows_per_donor=rows)

    @property
    def kept(self) -> int:
        """K, coefficients that are kept."""
        return self.spec.kept(self.genes)

    @property
    def scale(self) -> float:
        """s, grid steps a unit: a power of two."""
        epsilon = self.spec.epsilon or 1.0
        return 2.0 ** max(20, math.ceil(math.log2(epsilon * math.sqrt(self.kept) / _GRID_SHARE)))

    @property
    def noise(self) -> Laplace | Metric | None:
        """What is added to coefficients on the grid; None: nothing."""
        if self.spec.epsilon is None:
            return None
        if self.spec.kind == "metric":
            return metric(self.kept, self.spec.epsilon / self.scale)
        rate = Fraction(math.nextafter(self.spec.epsilon / math.sqrt(self.kept), 0)) / int(self.scale)
        return Laplace(coordinates=self.kept, rate=rate)

    @property
    def rounding(self) -> float:
        """η: what grid and arithmetic cost whatever the distance, in ε."""
        if self.spec.epsilon is None or self.noise is None:
            return math.inf
        moved = math.sqrt(self.kept) * (1 / self.scale + _ARITHMETIC)
        return self.spec.epsilon * moved + self.noise.slack

    @property
    def delta(self) -> float:
        """δ of a row: how far the samplers are from what they stand for; below 1e-26 of 20,000 genes."""
        return 2 * self.noise.delta if self.noise is not None else 0.0

    @property
    def diameter(self) -> float:
        """√genes, the largest distance of two rows in the public range."""
        return math.sqrt(self.genes)

    def loss(self, distance: float) -> float:
        """Return the most that a log ratio of chances can be for two rows so far apart; inf without noise."""
        return math.inf if self.spec.epsilon is None else self.spec.epsilon * distance + self.rounding

    @property
    def local(self) -> float:
        """ε of pure local differential privacy that follows for a row: ε·diameter + η. Its label's not counted."""
        return self.loss(self.diameter)

    @property
    def mean_noise(self) -> float:
        """Mean length of the noise, in units of distance: K/ε, or of Laplace's nearly √2 times that."""
        if self.spec.epsilon is None:
            return 0.0
        mean = self.kept / self.spec.epsilon
        return mean if self.spec.kind == "metric" else math.sqrt(2) * mean


def coefficients(x: Array, guarantee: Guarantee) -> npt.NDArray[np.float64]:
    """Return the kept coefficients of rows as they would be perturbed, (rows, K); NaN counts as mid-range."""
    return BASES[guarantee.spec.basis].forward(unit(x, guarantee), guarantee.kept)


def unit(x: Array, guarantee: Guarantee) -> npt.NDArray[np.float64]:
    """Return rows in units of the range, 0 to 1, (rows, genes); NaN counts as mid-range."""
    low, high = guarantee.low, guarantee.high
    require(x.shape[1] == guarantee.genes, f"rows of the schema's {guarantee.genes} genes", genes=x.shape[1])
    return np.clip((np.nan_to_num(x, nan=(low + high) / 2).astype(np.float64) - low) / (high - low), 0, 1)


def median_distance(x: Array, guarantee: Guarantee, rng: np.random.Generator) -> float:
    """Return the median distance of two of the rows' kept coefficients, over random pairs. It reads them: internal."""
    require(len(x) >= 2, "two rows or more", rows=len(x))
    one = rng.integers(0, len(x), _PAIRS)
    other = (one + rng.integers(1, len(x), _PAIRS)) % len(x)
    used, place = np.unique(np.concatenate([one, other]), return_inverse=True)
    kept = coefficients(x[used], guarantee)
    return float(np.median(np.linalg.norm(kept[place[:_PAIRS]] - kept[place[_PAIRS:]], axis=1)))
