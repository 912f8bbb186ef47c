"""How far a table's genes and their correlations are from real ones, beside real against real."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from fedgenome.errors import require
from fedgenome.query import Array

_MOST_GENES = 2000  # correlations of more genes are taken on an even subset: 32 MB, not 3 GB


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """Differences between two sets of rows.

    Attributes:
        wasserstein: Mean over genes of the 1-Wasserstein distance, in the data's unit.
        worst: The largest of them.
        worst_gene: Its index.
        correlation: Mean absolute difference of Pearson correlations over pairs of genes.
    """

    wasserstein: float
    worst: float
    worst_gene: int
    correlation: float

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def compare(table: Array, real: Array) -> Fidelity:
    """Return how ``table`` differs from ``real``, both float (rows, genes) and finite."""
    require(table.ndim == real.ndim == 2, "two tables", table=table.shape, real=real.shape)
    require(table.shape[1] == real.shape[1] >= 1, "the same genes", table=table.shape[1], real=real.shape[1])
    each = np.array([stats.wasserstein_distance(a, b) for a, b in zip(table.T, real.T, strict=True)])
    return Fidelity(
        wasserstein=float(each.mean()),
        worst=float(each.max()),
        worst_gene=int(each.argmax()),
        correlation=correlation_difference(table, real),
    )


def correlation_difference(table: Array, real: Array) -> float:
    """Return the mean absolute difference of correlations over pairs of genes; 0 for one gene.

    A gene that does not vary is uncorrelated with all others.
    """
    genes = table.shape[1]
    if genes < 2:
        return 0.0
    chosen = np.linspace(0, genes - 1, min(genes, _MOST_GENES)).astype(int)
    off = np.abs(_correlations(table[:, chosen]) - _correlations(real[:, chosen]))
    np.fill_diagonal(off, 0.0)
    return float(off.sum() / (len(chosen) * (len(chosen) - 1)))


def _correlations(x: Array) -> Array:
    x = x.astype(np.float64)
    # Constant by range: rounding gives a constant gene a tiny standard deviation, and noise for a correlation.
    varies = np.ptp(x, axis=0) > 0
    centred = np.where(varies, x - x.mean(axis=0), 0.0)
    length = np.where(varies, np.linalg.norm(centred, axis=0), 1.0)
    unit = centred / length
    return np.asarray(unit.T @ unit)
