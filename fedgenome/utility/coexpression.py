"""Co-expression: are the pairs of genes that go together in real rows found in the table, and only those?"""

from __future__ import annotations

import numpy as np

from fedgenome.audit.targets import Records
from fedgenome.query import Array
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, share

THRESHOLDS = (0.5, 0.7)
_MOST_GENES = 2000  # correlations of more genes are taken on an even subset: 32 MB, not 3 GB


def _of(threshold: float) -> tuple[Metric, ...]:
    pairs = f"pairs of genes with |r| > {threshold:g}"
    named = (
        ("recall", "recall", f"of the real {pairs}, the share found in the table with the same sign", "higher"),
        ("precision", "precision", f"of the table's {pairs}, the share that is real with the same sign", "higher"),
        ("rate", "base rate", f"share of {pairs} in the real rows: the precision of a guess", "as real"),
    )
    return tuple(
        Metric(name=f"coexpression_{key}_{threshold:g}", title=f"co-expression > {threshold:g}: {t}", words=w, better=b)  # type: ignore[arg-type]
        for key, t, w, b in named
    )


METRICS = (
    *(metric for threshold in THRESHOLDS for metric in _of(threshold)),
    Metric(
        name="correlation_error",
        title="correlation error",
        words="mean absolute difference of correlations over pairs of genes",
        better="lower",
    ),
)


def measure(
    table: Records, truth: Records, _rng: np.random.Generator | None = None, _settings: Settings = FULL
) -> dict[str, Value]:
    """Return recall, precision and base rate of co-expressed pairs, and the mean error of correlations.

    Pearson's r over all rows of a table, classes together; a gene that does not vary is uncorrelated with all others.
    A pair counts as found only with the right sign. Of more than 2,000 genes an even subset is taken.

    Nothing is drawn: the generator is not used.
    """
    chosen = subset(truth.x.shape[1])
    if len(chosen) < 2:
        return {metric.name: Value(value=np.nan, note="fewer than two genes") for metric in METRICS}
    upper = np.triu_indices(len(chosen), 1)
    made, real = (correlations(side.x[:, chosen])[upper] for side in (table, truth))
    found = {"correlation_error": Value(value=float(np.abs(made - real).mean()))}
    for threshold in THRESHOLDS:
        found |= edges(made, real, threshold)
    return {metric.name: found[metric.name] for metric in METRICS}


def edges(made: Array, real: Array, threshold: float) -> dict[str, Value]:
    """Return recall, precision and base rate of pairs above a threshold.

    Args:
        made: The table's correlations, float (pairs,).
        real: Those of the real rows, of the same pairs.
        threshold: Of |r|, exclusive.
    """
    ours, theirs = (np.sign(r) * (np.abs(r) > threshold) for r in (made, real))
    right = np.sum((theirs != 0) & (ours == theirs))
    no = f"no pair of genes with |r| > {threshold:g} in the"
    return {
        f"coexpression_recall_{threshold:g}": share(right, np.sum(theirs != 0), f"{no} real rows"),
        f"coexpression_precision_{threshold:g}": share(right, np.sum(ours != 0), f"{no} table"),
        f"coexpression_rate_{threshold:g}": share(np.sum(theirs != 0), len(theirs), "no pairs"),
    }


def subset(genes: int) -> Array:
    """Return the indices of the genes whose correlations are compared."""
    return np.linspace(0, genes - 1, min(genes, _MOST_GENES)).astype(int)


def correlations(x: Array) -> Array:
    """Return Pearson's correlations of the columns, float64 (genes, genes); 0 for a gene that does not vary."""
    x = x.astype(np.float64)
    # Constant by range: rounding gives a constant gene a tiny standard deviation, and noise for a correlation.
    varies = np.ptp(x, axis=0) > 0
    centred = np.where(varies, x - x.mean(axis=0), 0.0)
    length = np.where(varies, np.linalg.norm(centred, axis=0), 1.0)
    unit = centred / length
    return np.asarray(unit.T @ unit)
