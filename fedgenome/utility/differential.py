"""Differential expression: are the genes that tell classes apart found in the table, and only those?

Source of the comparison: Chen et al. 2024, "Towards Biologically Plausible and Private Gene Expression Data
Generation", PoPETs 2024 (true and false positives of differential expression, real data as truth).
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from fedgenome.audit.targets import Records
from fedgenome.query import Array
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, share, unsaid

METRICS = (
    Metric(
        name="de_tpr",
        title="DE: true positives",
        words="of the genes that differ between real classes, the share found in the table, in the same direction",
        better="higher",
    ),
    Metric(
        name="de_fpr",
        title="DE: false positives",
        words="of the genes that do not differ between real classes, the share the table claims",
        better="lower",
    ),
    Metric(
        name="de_rate",
        title="DE: share in the real rows",
        words="share of genes that differ between real classes: what a guess would hit",
        better="as real",
    ),
)


def measure(
    table: Records, truth: Records, _rng: np.random.Generator | None = None, settings: Settings = FULL
) -> dict[str, Value]:
    """Return true- and false-positive rate of the table's differentially expressed genes, the truth's as truth.

    Each class of ``truth`` is compared with the rest, gene by gene, in either table by itself (:func:`calls`). Pairs
    (class, gene) are pooled: TPR = same direction in both / called in ``truth``; FPR = called in the table among
    those not called in ``truth``. A class of fewer than two rows, or with fewer than two others, in ``truth`` is
    left out; in the table nothing is called for it. Rows are the samples: with many rows a donor, both tables call
    too much alike.

    Nothing is drawn: the generator is not used.
    """
    classes = [each for each in np.unique(truth.label) if _enough(truth.label == each)]
    if not classes:
        return {metric.name: unsaid("no real class of two rows with two others") for metric in METRICS}
    real = np.stack([calls(truth.x, truth.label == each, settings.level) for each in classes])
    made = np.stack([calls(table.x, table.label == each, settings.level) for each in classes])
    lacking = sum(not _enough(table.label == each) for each in classes)
    note = f"{lacking} of {len(classes)} classes have too few rows in the table" if lacking else ""
    hits, called = np.sum((real != 0) & (real == made)), np.sum(real != 0)
    alarms, quiet = np.sum((real == 0) & (made != 0)), np.sum(real == 0)
    tpr = share(hits, called, "no gene differs between the real classes")
    fpr = share(alarms, quiet, "every gene differs between the real classes")
    return {
        "de_tpr": Value(value=tpr.value, note=tpr.note or note),
        "de_fpr": Value(value=fpr.value, note=fpr.note or note),
        "de_rate": share(called, real.size, "no genes"),
    }


def calls(x: Array, group: Array, level: float) -> Array:
    """Return each gene's direction: 1 higher in the group, −1 lower, 0 not called, int64 (genes,).

    Welch's t-test, then Benjamini–Hochberg over the genes of this comparison at ``level``. Zeros where group or rest
    has fewer than two rows. A gene constant in both calls only if its two values differ.

    Args:
        x: float (rows, genes), finite.
        group: bool (rows,): in the group.
    """
    if not _enough(group):
        return np.zeros(x.shape[1], np.int64)
    t, p = welch(x[group], x[~group])
    return np.where(stats.false_discovery_control(p) <= level, np.sign(t), 0).astype(np.int64)


def welch(a: Array, b: Array) -> tuple[Array, Array]:
    """Return Welch's t and two-sided p of each gene, float64 (genes,); each group has two rows or more.

    A gene constant in both groups: t = 0, p = 1 where the constants agree, else t = ±∞, p = 0.
    """
    constant = (np.ptp(a, axis=0) == 0) & (np.ptp(b, axis=0) == 0)
    apart = np.sign(a[0].astype(np.float64) - b[0])
    (mean_a, sd_a), (mean_b, sd_b) = _moments(a), _moments(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        t, p = stats.ttest_ind_from_stats(mean_a, sd_a, len(a), mean_b, sd_b, len(b), equal_var=False)
    t = np.where(constant, np.where(apart == 0, 0.0, np.copysign(np.inf, apart)), t)
    return t, np.where(constant, (apart == 0).astype(np.float64), p)


def _moments(x: Array) -> tuple[Array, Array]:
    x = x.astype(np.float64)
    return x.mean(axis=0), x.std(axis=0, ddof=1)


def _enough(group: Array) -> bool:
    return 2 <= int(group.sum()) <= len(group) - 2
