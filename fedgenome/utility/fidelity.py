"""How far each gene's distribution is from the real one: 1-Wasserstein distances in real standard deviations."""

from __future__ import annotations

import numpy as np
from scipy import stats

from fedgenome.audit.targets import Records
from fedgenome.query import Array
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, unsaid

METRICS = (
    Metric(
        name="wasserstein",
        title="Wasserstein, mean gene",
        words="how far a gene's values must be moved to lie as the real ones, in real standard deviations",
        better="lower",
    ),
    Metric(
        name="wasserstein_worst",
        title="Wasserstein, worst gene",
        words="the same for the gene that is worst off",
        better="lower",
    ),
)


def measure(
    table: Records, truth: Records, _rng: np.random.Generator | None = None, _settings: Settings = FULL
) -> dict[str, Value]:
    """Return mean and worst 1-Wasserstein distance over genes, each divided by its standard deviation in ``truth``.

    Genes that do not vary in ``truth`` have no scale and are left out; the note counts them.

    Nothing is drawn: the generator is not used.
    """
    deviation = truth.x.astype(np.float64).std(axis=0)
    varies = np.ptp(truth.x, axis=0) > 0
    if not varies.any():
        return {metric.name: unsaid("no gene varies in the real rows") for metric in METRICS}
    each = distances(table.x[:, varies], truth.x[:, varies]) / deviation[varies]
    left = int((~varies).sum())
    note = f"without {left} genes that do not vary in the real rows" if left else ""
    worst = int(np.flatnonzero(varies)[each.argmax()])
    return {
        "wasserstein": Value(value=float(each.mean()), note=note),
        "wasserstein_worst": Value(value=float(each.max()), note=note, gene=worst),
    }


def distances(table: Array, real: Array) -> Array:
    """Return each gene's 1-Wasserstein distance in the data's unit, float64 (genes,)."""
    return np.array([stats.wasserstein_distance(a, b) for a, b in zip(table.T, real.T, strict=True)])
