"""Shadow features: whether a record was in, told by what a table says in sum (threat: knows how tables are made).

The attacker trains the generator many times on other people, with the record and without it, puts each table down as a
few numbers, and has a classifier learn which are which. It then guesses about more tables, of generators trained
afresh, at a threshold fixed beforehand: guesses are independent trials, so that Clopper–Pearson's bounds hold of them,
of *this* record among *these* people. Nothing released is looked at; what is judged is a way to make tables, and a
record that it fails to hide.

Source: Stadler, Oprisanu & Troncoso 2022, "Synthetic Data – Anonymisation Groundhog Day" (naive, histogram and
correlation features). Deviations: features of the genes in which the record lies farthest from the others, as an
attacker may choose them; logistic regression, which learns a shift of many numbers from few tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.targets import Records, joined
from fedgenome.errors import require
from fedgenome.query import Array

Fit = Callable[[Records, np.random.Generator], Records]  # people -> the table of a generator trained on them
GENES = 20  # of which features are taken
BINS = 10  # of a histogram, over the public range
SHADOWS, TRIALS = 20, 30  # tables that are learned from and that are guessed, with the record; and as many without


def naive(x: Array) -> Array:
    """Return mean, median and variance of every gene of a table (rows, genes), float64 (3 · genes,)."""
    return np.concatenate([x.mean(0, dtype=np.float64), np.median(x, axis=0), x.var(0, dtype=np.float64)])


def histogram(x: Array) -> Array:
    """Return the share of rows in each of ``BINS`` equal bins of [0, 1], gene by gene, float64 (genes · BINS,)."""
    bins = np.minimum((x * BINS).astype(int), BINS - 1)
    return np.asarray((bins[:, :, None] == np.arange(BINS)).mean(axis=0).ravel())


def correlations(x: Array) -> Array:
    """Return Pearson's correlation of every pair of genes, 0 where one never varies, float64 (pairs,)."""
    centred = x - x.mean(0, dtype=np.float64)
    length = np.sqrt((centred**2).sum(0))
    unit = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return np.asarray((unit.T @ unit)[np.triu_indices(x.shape[1], 1)])


FEATURES: Mapping[str, Callable[[Array], Array]] = {
    "naive": naive,
    "histogram": histogram,
    "correlations": correlations,
}


def guessed(
    record: Records,
    others: Records,
    fit: Fit,
    rng: np.random.Generator,
    *,
    people: int,
    shadows: int = SHADOWS,
    trials: int = TRIALS,
) -> dict[str, Counts]:
    """Return, by features, how often tables with the record (hits) and without it (false alarms) are guessed "in".

    Args:
        record: The scaled rows of one person.
        others: Scaled rows of other people, one donor or more each, of whom every table's makers are drawn.
        fit: Trains a generator and returns its table; it draws from the generator it is given, and from nothing else.
        rng: Draws the makers; its children are given to ``fit``.
        people: How many others make a table. The record is in addition: add-or-remove.
        shadows: Tables with the record, and as many without, that the classifier learns from.
        trials: Tables with the record, and as many without, that it guesses.

    Raises:
        SpecError: Too few others, shadows or trials.
    """
    units = others.units
    require(1 <= people <= len(units), "1 <= people <= donors among the others", people=people, donors=len(units))
    require(shadows >= 1 and trials >= 1, "shadows, trials >= 1", shadows=shadows, trials=trials)
    genes = farthest(record, others)

    def table(held: bool) -> Array:
        makers = others.of(rng.choice(units, people, replace=False))
        return fit(joined(makers, record) if held else makers, rng.spawn(1)[0]).x[:, genes]

    tables = [table(held) for _ in range(shadows + trials) for held in (True, False)]
    return {name: _counts(np.stack([take(x) for x in tables]), shadows) for name, take in FEATURES.items()}


def farthest(record: Records, others: Records) -> Array:
    """Return the positions of the ``GENES`` genes in which the record's mean lies farthest out, in deviations."""
    spread = others.x.std(0, dtype=np.float64)
    apart = np.abs(record.x.mean(0) - others.x.mean(0))
    return np.argsort(-np.divide(apart, spread, out=np.zeros_like(spread), where=spread > 0), kind="stable")[:GENES]


def _counts(features: Array, shadows: int) -> Counts:
    """Return what a classifier of the first tables says of the others; every other table has the record."""
    learned = 2 * shadows
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    model.fit(features[:learned], np.tile([True, False], shadows))
    inside, outside = model.predict(features[learned:]).reshape(-1, 2).T
    return Counts(hits=int(inside.sum()), members=len(inside), false_alarms=int(outside.sum()), controls=len(outside))
