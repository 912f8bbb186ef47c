"""Train on synthetic, test on real: what a classifier learns from a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.targets import Records
from fedgenome.errors import require
from fedgenome.utility.scores import Estimate, accuracy_and_f1

_ITERATIONS = 10_000  # lbfgs needs tens to hundreds on standardised expression; enough never to warn
_TREES = 200

Classifier = Any  # scikit-learn is untyped: has fit(x, y) and predict(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How one classifier, trained on one table, does on the controls.

    Attributes:
        trained_on: ``synthetic``, ``real`` or ``majority``.
        classifier: Its name.
        accuracy: Share of test rows classified rightly.
        macro_f1: Mean F1 over the classes of the test rows.
        missing: Classes of the test rows that the training table lacks.
    """

    trained_on: str
    classifier: str
    accuracy: Estimate
    macro_f1: Estimate
    missing: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "trained_on": self.trained_on,
            "classifier": self.classifier,
            "accuracy": self.accuracy.to_json(),
            "macro_f1": self.macro_f1.to_json(),
            "missing": list(self.missing),
        }


def _logistic(_seed: int) -> Classifier:
    return make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=_ITERATIONS))


def _forest(seed: int) -> Classifier:
    return RandomForestClassifier(_TREES, n_jobs=1, random_state=seed)


def _majority(_seed: int) -> Classifier:
    return DummyClassifier(strategy="most_frequent")


CLASSIFIERS: dict[str, Callable[[int], Classifier]] = {"logistic regression": _logistic, "random forest": _forest}


def evaluate(members: Records, controls: Records, synthetic: Records, rng: np.random.Generator) -> tuple[Score, ...]:
    """Return the scores of every classifier trained on synthetic rows and on members, and the majority's.

    The majority line predicts the most frequent class of the members everywhere: what accuracy is
    worth without learning. All are tested on the same controls and the same resamples of them.

    Args:
        members: Training rows, for the real-data baseline; finite.
        controls: Test rows of donors kept apart; finite.
        synthetic: The table to be judged; finite.
        rng: Seeds forests and resamples.
    """
    seed = int(rng.integers(2**31))
    tables = {"synthetic": synthetic, "real": members}
    scores = [
        _score(trained_on, name, make(seed), table, controls, seed)
        for trained_on, table in tables.items()
        for name, make in CLASSIFIERS.items()
    ]
    return (*scores, _score("majority", "most frequent class of the members", _majority(seed), members, controls, seed))


def _score(trained_on: str, name: str, model: Classifier, table: Records, test: Records, seed: int) -> Score:
    require(len(table.x) > 0, "at least one training row", trained_on=trained_on)
    if len(np.unique(table.label)) == 1:
        model = _majority(seed)  # nothing to tell apart; logistic regression would raise
    model.fit(table.x, table.label)
    resample = np.random.default_rng(seed)
    accuracy, macro_f1 = accuracy_and_f1(test.label, model.predict(test.x), test.owner, resample)
    missing = np.setdiff1d(test.label, table.label)
    return Score(
        trained_on=trained_on,
        classifier=name,
        accuracy=accuracy,
        macro_f1=macro_f1,
        missing=tuple(int(each) for each in missing),
    )
