"""Train on synthetic, test on real: what a classifier learns from a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.targets import Records
from fedgenome.errors import require
from fedgenome.query import Array
from fedgenome.utility.metrics import CLASSIFIERS, FULL, Metric, Settings, Value
from fedgenome.utility.scores import FIGURES, Answers, Estimate, estimates, points

_ITERATIONS = 10_000  # lbfgs needs tens to hundreds on standardised expression; enough never to warn
# Gradient boosting on some hundred rows of a thousand genes: coarse bins and small trees cost it nothing there.
_BOOSTING = {"max_iter": 50, "max_leaf_nodes": 8, "max_bins": 32, "early_stopping": False}

Classifier = Any  # scikit-learn is untyped: has fit(x, y), predict(x), predict_proba(x) and classes_


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How one classifier, trained on one table, does on the test rows.

    Attributes:
        trained_on: ``synthetic``, ``real`` or ``majority``.
        classifier: Its name.
        accuracy: Share of test rows classified rightly.
        macro_f1: Mean F1 over the classes of the test rows.
        auprc: Mean area under the precision–recall curve of each class against the rest.
        missing: Classes of the test rows that the training table lacks.
    """

    trained_on: str
    classifier: str
    accuracy: Estimate
    macro_f1: Estimate
    auprc: Estimate
    missing: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        figures = {name: getattr(self, name).to_json() for name in FIGURES}
        told = {"trained_on": self.trained_on, "classifier": self.classifier}
        return {**told, **figures, "missing": list(self.missing)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How a released classifier does on rows of donors kept apart.

    Attributes:
        rows: How many.
        accuracy: Share of them classified rightly.
        macro_f1: Mean F1 over their classes.
        majority: Accuracy of naming the training donors' commonest class throughout.
    """

    rows: int
    accuracy: Estimate
    macro_f1: Estimate
    majority: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        figures = {name: getattr(self, name).to_json() for name in ("accuracy", "macro_f1", "majority")}
        return {"rows": self.rows, **figures}


def told(predict: Callable[[Array], Array], truth: Records, train: Records, seed: int) -> Told:
    """Return how a released classifier does, on the same resamples of donors as the majority line.

    Args:
        predict: Label codes of rows.
        truth: Rows of donors kept apart; finite.
        train: Rows of the training donors.
        seed: Draws the resamples.
    """
    commonest = np.full(len(truth), np.bincount(train.label).argmax())
    own, line = (_hard(codes, truth, seed) for codes in (np.asarray(predict(truth.x)), commonest))
    return Told(rows=len(truth), accuracy=own[0], macro_f1=own[1], majority=line[0])


def _hard(predicted: Array, truth: Records, seed: int) -> tuple[Estimate, Estimate]:
    """Return accuracy and macro-F1 of label codes, which rank nothing."""
    chosen = (predicted[:, None] == np.unique(truth.label)).astype(np.float64)
    answers = Answers(truth=truth.label, predicted=predicted, ranked=chosen, donor=truth.owner)
    return estimates(answers, np.random.default_rng(seed))[:2]


def _majority() -> Classifier:
    return DummyClassifier(strategy="most_frequent")


def _make(name: str, seed: int, trees: int) -> Classifier:
    logistic, shrunk, forest, _boosting = CLASSIFIERS
    if name in (logistic, shrunk):
        c = 1.0 if name == logistic else 0.01
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=_ITERATIONS))
    if name == forest:
        return RandomForestClassifier(trees, n_jobs=1, random_state=seed)
    return HistGradientBoostingClassifier(random_state=seed, **_BOOSTING)


def metrics(settings: Settings) -> tuple[Metric, ...]:
    """Return the figures of :func:`measure`: three a classifier."""
    words = {
        "accuracy": "share of real test rows that it classifies rightly",
        "macro_f1": "mean F1 over classes: rare classes count as much as common ones",
        "auprc": "mean area under the precision-recall curve, each class against the rest",
    }
    titles = {"accuracy": "accuracy", "macro_f1": "macro-F1", "auprc": "AUPRC"}
    return tuple(
        Metric(name=_name(figure, one), title=f"{titles[figure]}, {one}", words=words[figure], better="higher")
        for one in settings.classifiers
        for figure in FIGURES
    )


def measure(table: Records, truth: Records, rng: np.random.Generator, settings: Settings = FULL) -> dict[str, Value]:
    """Return accuracy, macro-F1 and AUPRC on ``truth`` of every classifier trained on ``table``."""
    require(len(table.x) > 0, "at least one training row")
    seed = int(rng.integers(2**31))
    found: dict[str, Value] = {}
    for one in settings.classifiers:
        answers = _answers(_make(one, seed, settings.trees), table, truth)
        found |= {_name(name, one): Value(value=v) for name, v in zip(FIGURES, points(answers), strict=True)}
    return found


def whole(scores: tuple[Score, ...], trained_on: str) -> dict[str, Value]:
    """Return the figures of scores trained on one table, named as :func:`measure` names them."""
    mine = [score for score in scores if score.trained_on == trained_on]
    return {_name(f, score.classifier): Value(value=getattr(score, f).estimate) for score in mine for f in FIGURES}


def _name(figure: str, classifier: str) -> str:
    return f"{figure}: {classifier}"


def evaluate(
    members: Records | None,
    controls: Records,
    synthetic: Records,
    rng: np.random.Generator,
    settings: Settings = FULL,
) -> tuple[Score, ...]:
    """Return the scores of every classifier trained on synthetic rows and on members, and the majority's.

    The majority line predicts the most frequent class of the members (without any, of the test rows) everywhere:
    what accuracy is worth without learning. All are tested on the same rows and the same resamples of them.

    Args:
        members: Training rows, for the real-data baseline; finite. None where they are not at hand.
        controls: Test rows of donors kept apart; finite.
        synthetic: The table to be judged; finite.
        rng: Seeds forests and resamples.
    """
    seed = int(rng.integers(2**31))
    tables = {"synthetic": synthetic} | ({} if members is None else {"real": members})
    scores = [
        _score(trained_on, name, _make(name, seed, settings.trees), table, controls, seed)
        for trained_on, table in tables.items()
        for name in settings.classifiers
    ]
    whose, known = ("test rows", controls) if members is None else ("members", members)
    return (*scores, _score("majority", f"most frequent class of the {whose}", _majority(), known, controls, seed))


def _score(trained_on: str, name: str, model: Classifier, table: Records, test: Records, seed: int) -> Score:
    require(len(table.x) > 0, "at least one training row", trained_on=trained_on)
    accuracy, macro_f1, auprc = estimates(_answers(model, table, test), np.random.default_rng(seed))
    return Score(
        trained_on=trained_on,
        classifier=name,
        accuracy=accuracy,
        macro_f1=macro_f1,
        auprc=auprc,
        missing=tuple(int(each) for each in np.setdiff1d(test.label, table.label)),
    )


def _answers(model: Classifier, table: Records, test: Records) -> Answers:
    if len(np.unique(table.label)) == 1:
        model = _majority()  # nothing to tell apart; logistic regression would raise
    model.fit(table.x, table.label)
    ranked = _ranked(model, test.x, np.unique(test.label))
    return Answers(truth=test.label, predicted=model.predict(test.x), ranked=ranked, donor=test.owner)


def _ranked(model: Classifier, x: Array, classes: Array) -> Array:
    """Return the probability of each of ``classes``, (rows, classes): zero for one that the table lacks."""
    said, known = model.predict_proba(x), list(model.classes_)
    blank = np.zeros(len(x))
    return np.stack([said[:, known.index(each)] if each in known else blank for each in classes], axis=1)
