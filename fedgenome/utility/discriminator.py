"""A discriminator: can a classifier tell the table's rows from real ones?"""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.targets import Records
from fedgenome.query import Array
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, unsaid

_WORDS = "AUC of telling table from real rows: .5 cannot tell, 1 tells every row"
METRICS = (
    Metric(name="discriminator_linear", title="discriminator, logistic regression", words=_WORDS, better="lower"),
    Metric(name="discriminator_forest", title="discriminator, random forest", words=_WORDS, better="lower"),
)
_ITERATIONS = 10_000


def measure(table: Records, truth: Records, rng: np.random.Generator, settings: Settings = FULL) -> dict[str, Value]:
    """Return cross-validated AUCs of two classifiers that tell the table from ``truth``, as many rows of each.

    A real donor's rows are all in one fold, so that recognising the person is no help.

    Args:
        rng: Chooses the rows of the longer side (at most ``settings.rows`` each), and seeds folds and forest.
    """
    n = min(len(table), len(truth), settings.rows)
    if n < 2 * settings.folds:
        why = f"fewer than {2 * settings.folds} rows on a side for {settings.folds} folds"
        return {metric.name: unsaid(why) for metric in METRICS}
    sides = [side.rows(rng.choice(len(side), n, replace=False)) for side in (table, truth)]
    x = np.concatenate([side.x for side in sides]).astype(np.float64)
    _, owner = np.unique(sides[1].owner, return_inverse=True)
    if owner.max() + 1 < settings.folds:
        return {metric.name: unsaid(f"fewer than {settings.folds} real donors") for metric in METRICS}
    seed = int(rng.integers(2**31))
    models = (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=_ITERATIONS)),
        RandomForestClassifier(max(settings.trees // 4, 10), n_jobs=1, random_state=seed),
    )
    groups = np.concatenate([owner.max() + 1 + np.arange(n), owner])
    folds = StratifiedGroupKFold(settings.folds, shuffle=True, random_state=seed)
    return {
        metric.name: Value(value=_auc(model, x, groups, folds)) for metric, model in zip(METRICS, models, strict=True)
    }


def _auc(model: object, x: Array, groups: Array, folds: StratifiedGroupKFold) -> float:
    is_table = np.repeat([1, 0], len(x) // 2)
    said = cross_val_predict(model, x, is_table, groups=groups, cv=folds, method="predict_proba")
    return float(roc_auc_score(is_table, said[:, 1]))
