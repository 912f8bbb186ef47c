"""From log-normalised expression back to counts: so that synthetic cells run through the usual single-cell steps.

A cohort of counts is read as x = log1p(1e4 · count / the row's total). What a generator makes of it is turned back by
the inverse, at a library size that is public: sizes of real cells would have to be paid for.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fedgenome.cohort.shard import Array
from fedgenome.cohort.values import COUNTS_TOTAL
from fedgenome.errors import require

HIGHEST = math.log1p(COUNTS_TOTAL)  # of a value on that scale: a cell with one gene only
_MOST = 1 << 24  # counts are kept as float32, which holds whole numbers up to here


def rates(x: Array, sizes: Array | float = COUNTS_TOTAL) -> npt.NDArray[np.float64]:
    """Return the expected counts of rows whose library sizes are known, float64 (rows, genes).

    The inverse of log1p(1e4 · count / size). Where ``x`` holds a panel only, a row's rates add up to the panel's part
    of its size.

    Args:
        x: Log-normalised expression, float (rows, genes), within 0 and log1p(1e4).
        sizes: Total counts of each row, positive, (rows,) or one number for all.

    Raises:
        SpecError: a value or size is beyond its range.

    >>> rates(np.log1p([[1e4, 0.0], [10.0, 20.0]]), np.array([7.0, 5000.0])).round(9).tolist()
    [[7.0, 0.0], [5.0, 10.0]]
    """
    values, size = np.asarray(x, np.float64), np.asarray(sizes, np.float64)
    require(values.ndim == 2, "rows of two dimensions (rows, genes)", shape=values.shape)
    require(size.shape in ((), (len(values),)), "one size, or one for each row", shape=size.shape)
    require(bool(np.all(np.isfinite(size) & (size > 0))), "sizes above 0")
    slack = 1e-5  # float32 rounds log1p(1e4) up
    within = bool(np.all((values >= 0) & (values <= HIGHEST + slack)))
    require(within, f"values from 0 to log1p(1e4) = {HIGHEST:.4g}: log1p of counts scaled to 1e4 a row")
    return np.asarray(np.expm1(values) * (size.reshape(-1, 1) / COUNTS_TOTAL))


def draw(rate: Array, rng: np.random.Generator, dispersion: Array | float = 0.0) -> npt.NDArray[np.float32]:
    """Return counts, whole numbers as float32 (rows, genes), negative binomial with mean ``rate``.

    Their variance is rate + dispersion · rate² (a Poisson count whose rate is Gamma); without
    dispersion they are Poisson.
    The draw is sampling noise on top of what is in ``rate`` already.

    Args:
        rate: Expected counts, float (rows, genes), >= 0 and finite.
        rng: The same state gives the same counts.
        dispersion: Public, >= 0, (genes,) or one number for all.

    Raises:
        SpecError: a rate or dispersion is beyond its range, or a count does not fit float32 exactly.
    """
    mean, spread = np.asarray(rate, np.float64), np.asarray(dispersion, np.float64)
    require(bool(np.all(np.isfinite(mean) & (mean >= 0))), "finite rates >= 0")
    require(bool(np.all(np.isfinite(spread) & (spread >= 0))), "a finite dispersion >= 0")
    require(spread.shape in ((), mean.shape[1:]), "one dispersion, or one for each gene", shape=spread.shape)
    spread = np.broadcast_to(spread, mean.shape)
    over = spread > 0
    mean = mean.copy()
    mean[over] *= rng.gamma(1 / spread[over], spread[over])
    counts = rng.poisson(mean)
    require(counts.size == 0 or int(counts.max()) <= _MOST, f"counts up to {_MOST}; take a smaller size")
    return counts.astype(np.float32)
