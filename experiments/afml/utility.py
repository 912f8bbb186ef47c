"""What a release is good for: how well an analyst tells a phenotype and an ancestry from what is told.

The analyst trains on rows of everybody who is not judged, told as the release tells them, and is judged on those of the
judged. Of many variants it keeps those that tell most on its own rows, so that more told is never more noise.
"""

from __future__ import annotations

import numpy as np
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.bounds.ranking import auc
from fedgenome.query import Array

_PHENOTYPE, _ANCESTRY = 20, 200  # variants that the analyst keeps at most
_ITERATIONS = 2000


def filled(dosages: Array, means: Array) -> Array:
    """Return dosages with means where nothing is told, float64."""
    return np.where(dosages < 0, means, dosages).astype(np.float64)


def means_of(dosages: Array) -> Array:
    """Return the mean of what is told of each variant, 1 where nothing is, float64 (variants,)."""
    told = dosages >= 0
    return np.asarray((np.where(told, dosages, 0).sum(0) + 1) / (told.sum(0) + 1))


def phenotype(train: tuple[Array, Array], test: tuple[Array, Array]) -> float:
    """Return the AUC of the analyst's word on cases and controls.

    Args:
        train: Rows, numbers (people, columns), and labels (people,).
        test: The same of the judged.
    """
    word = _fitted(*train, _PHENOTYPE).decision_function(test[0])
    return auc(word[test[1] == 1], word[test[1] == 0])


def ancestry(train: tuple[Array, Array], test: tuple[Array, Array]) -> float:
    """Return how many of the judged are given the right ancestry, as a share."""
    return float(np.mean(_fitted(*train, _ANCESTRY).predict(test[0]) == test[1]))


def _fitted(rows: Array, labels: Array, most: int) -> Pipeline:
    varied = np.ptp(rows, axis=0) > 0
    kept = [SelectKBest(_strength, k=most)] if int(varied.sum()) > most else []
    made: Pipeline = make_pipeline(*kept, StandardScaler(), LogisticRegression(max_iter=_ITERATIONS))
    return made.fit(rows, labels)


def _strength(rows: Array, labels: Array) -> Array:
    """Return F of each column, 0 for one that does not vary."""
    varied = np.ptp(rows, axis=0) > 0
    found = np.zeros(rows.shape[1])
    found[varied] = f_classif(rows[:, varied], labels)[0]
    return found
