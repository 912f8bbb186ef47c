"""Maximum mean discrepancy: how far the rows as a whole are from the real ones.

Source: Gretton et al. 2012, "A Kernel Two-Sample Test", JMLR 13, equation 3 (the unbiased estimate).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist, pdist

from fedgenome.audit.targets import Records
from fedgenome.query import Array
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, unsaid

METRICS = (
    Metric(
        name="mmd2",
        title="MMD², RBF kernel",
        words="distance between the clouds of rows; 0 up to chance (it may fall below) if they are alike",
        better="lower",
    ),
)


def measure(table: Records, truth: Records, rng: np.random.Generator, settings: Settings = FULL) -> dict[str, Value]:
    """Return the unbiased MMD² between ``table`` and ``truth``, at most ``settings.rows`` rows of each.

    Args:
        rng: Chooses the rows where there are more.
    """
    made, real = (some(side.x, settings.rows, rng) for side in (table, truth))
    if min(len(made), len(real)) < 2:
        return {"mmd2": unsaid("fewer than two rows")}
    width = float(np.median(pdist(real)))
    if width == 0:
        return {"mmd2": unsaid("half of the real rows are the same")}
    return {"mmd2": Value(value=mmd2(made, real, width))}


def mmd2(a: Array, b: Array, width: float) -> float:
    """Return the unbiased estimate of MMD² under k(x, y) = exp(−‖x − y‖² / (2 · width²)); 0 in the mean if alike."""

    def within(x: Array) -> float:
        return float(np.mean(np.exp(-(pdist(x) ** 2) / (2 * width**2))))

    return within(a) + within(b) - 2 * float(np.mean(np.exp(-(cdist(a, b) ** 2) / (2 * width**2))))


def some(x: Array, most: int, rng: np.random.Generator) -> Array:
    """Return the rows as float64, a random ``most`` of them if they are more."""
    chosen = x if len(x) <= most else x[rng.choice(len(x), most, replace=False)]
    return chosen.astype(np.float64)
