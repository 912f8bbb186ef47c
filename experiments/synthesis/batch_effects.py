"""What takes effects of platforms out of three breast studies: nothing, ranks within a sample, or a study's own mean.

Oestrogen receptor of 546 patients, 254 genes, logistic regression (C = .01) on standardised genes: accuracy by five
folds over all, and trained on two studies and tested on the third; and how well the same model tells the study. A
study's mean is data of all its donors, used here without paying for it: a reference, not a choice of fedgenome's.
Run: ``python -m experiments.synthesis.batch_effects``; it prints and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.synthesis import cohorts
from fedgenome import threads
from fedgenome.query import Array


def forms() -> tuple[Mapping[str, Array], Array, Array]:
    """Return each form of the expression, the labels and the studies."""
    native, ranks = cohorts.read("breast_sites_native"), cohorts.read("breast_sites")
    site = np.array(native.site)
    means = {name: native.x[site == name].mean(axis=0) for name in np.unique(site)}
    centred = native.x - np.stack([means[name] for name in site])
    return {"none": native.x, "ranks": ranks.x, "the study's mean, unpaid": centred}, native.label, site


def main() -> None:
    """Print one line for each form."""
    threads.limit()
    every, label, site = forms()
    for name, x in every.items():
        told = {"all": _folds(x, label, 5), "study told": _folds(x, site, 3)}
        for out in np.unique(site):
            told[f"tested on {out}"] = (
                _model().fit(x[site != out], label[site != out]).score(x[site == out], label[site == out])
            )
        print(f"{name:25}", "  ".join(f"{what} {value:.3f}" for what, value in told.items()))


def _model() -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))


def _folds(x: Array, told: Array, k: int) -> float:
    return float(cross_val_score(_model(), x, told, cv=StratifiedKFold(k, shuffle=True, random_state=0)).mean())


if __name__ == "__main__":
    main()
