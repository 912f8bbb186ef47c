"""What a table is judged by: classifiers on test people, and co-expression, DE and distances against the training rows.

The figures are :mod:`fedgenome.utility`'s; these are those that the published work prints.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import stats

from fedgenome.audit.targets import Records
from fedgenome.utility import classify, coexpression, differential, fidelity
from fedgenome.utility.metrics import CLASSIFIERS, FULL, Settings, Value

_LOGISTIC = Settings(classifiers=CLASSIFIERS[:2])
MAIN = "accuracy"
RECALL, PRECISION, RATE = "co-expression recall", "co-expression precision", "co-expression base rate"
NAMES: Mapping[str, str] = {  # figures of the utility suite, and what they are called in tables
    f"accuracy: {CLASSIFIERS[0]}": MAIN,
    f"accuracy: {CLASSIFIERS[1]}": "accuracy, C = .01",
    f"macro_f1: {CLASSIFIERS[0]}": "macro-F1",
    "coexpression_recall_0.5": RECALL,
    "coexpression_precision_0.5": PRECISION,
    "coexpression_rate_0.5": RATE,
    "de_tpr": "DE true positives",
    "de_fpr": "DE false positives",
    "wasserstein": "Wasserstein",
}
Figures = dict[str, float | None]


def judged(table: Records, test: Records, truth: Records) -> Figures:
    """Return a table's figures; None for one that cannot be said.

    Args:
        table: What is judged.
        test: People whom nothing was fitted on: the classifiers' test.
        truth: What its genes are compared with: what the generator was to imitate.
    """
    found: dict[str, Value] = classify.measure(table, test, np.random.default_rng(0), _LOGISTIC)
    for part in (coexpression, differential, fidelity):
        found |= part.measure(table, truth, None, FULL)
    return {short: _number(found[name]) for name, short in NAMES.items()}


def told(label: int, test: Records) -> Figures:
    """Return the figures of saying ``label`` of everybody: accuracy alone."""
    return {MAIN: float(np.mean(test.label == label))}


def _number(value: Value) -> float | None:
    return value.value if math.isfinite(value.value) else None


def mean(each: Iterable[Figures], name: str) -> float | None:
    """Return a figure's mean over splits in which it could be said; None if in none."""
    said = [value for one in each if (value := one.get(name)) is not None]
    return float(np.mean(said)) if said else None


def interval(values: Sequence[float], wrong: float = 0.05) -> tuple[float, float]:
    """Return the interval of a mean by Student's t; splits overlap, so that it is somewhat too narrow.

    Args:
        values: One a split; of fewer than two nothing is known.
        wrong: The share of such intervals that miss.
    """
    if len(values) < 2:
        return -math.inf, math.inf
    half = float(stats.t.ppf(1 - wrong / 2, len(values) - 1) * stats.sem(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half
