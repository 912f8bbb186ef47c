"""Clusters and markers: does the table lead to the same groups of rows, and to the same genes that mark them?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.targets import Records
from fedgenome.query import Array
from fedgenome.utility.differential import welch
from fedgenome.utility.metrics import FULL, Metric, Settings, Value, unsaid

METRICS = (
    Metric(
        name="cluster_agreement",
        title="clusters: agreement",
        words="do clusters found in the table group real rows as clusters found in real rows do (adjusted Rand index)",
        better="higher",
    ),
    Metric(
        name="cluster_labels",
        title="clusters: labels",
        words="do real rows get their labels from the table's clusters (adjusted Rand index; 0 is chance)",
        better="higher",
    ),
    Metric(
        name="marker_overlap",
        title="markers: overlap",
        words="overlap of each class's list of marker genes with the real one (Jaccard: shared over all)",
        better="higher",
    ),
)
_COMPONENTS = 20
_STARTS = 5


def measure(table: Records, truth: Records, rng: np.random.Generator, settings: Settings = FULL) -> dict[str, Value]:
    """Return two adjusted Rand indices on the real rows, and the overlap of marker genes.

    ``cluster_agreement`` compares the clusters of real rows found in ``truth`` with those of the nearest centre found
    in ``table``; ``cluster_labels`` the real labels with those that the table's clusters have (the commonest of each).
    k-means with as many clusters as ``truth`` has classes, on at most 20 principal components of standardised genes.

    Args:
        rng: Seeds k-means.
    """
    seed, k = int(rng.integers(2**31)), len(np.unique(truth.label))
    return _agreements(table, truth, k, seed) | {"marker_overlap": _markers(table, truth, settings.markers)}


def _agreements(table: Records, truth: Records, k: int, seed: int) -> dict[str, Value]:
    names = [metric.name for metric in METRICS[:2]]
    if k < 2:
        return dict.fromkeys(names, unsaid("a single class in the real rows"))
    for who, side in (("table", table), ("real", truth)):
        if len(side) < k:
            return dict.fromkeys(names, unsaid(f"fewer {who} rows than classes"))
        if not np.ptp(side.x, axis=0).any():
            return dict.fromkeys(names, unsaid(f"no gene varies in the {who} rows"))
    ours, theirs = (_fit(side.x, k, seed) for side in (table, truth))
    said, at_home = ours.predict(truth.x), ours.predict(table.x)
    commonest = {c: np.bincount(table.label[at_home == c]).argmax() for c in np.unique(at_home)}
    # A centre that no table row is nearest to has no label of its own: it stays a group by itself.
    labels = np.array([commonest.get(c, -1 - c) for c in said])
    return {
        "cluster_agreement": Value(value=float(adjusted_rand_score(theirs.predict(truth.x), said))),
        "cluster_labels": Value(value=float(adjusted_rand_score(truth.label, labels))),
    }


def _fit(x: Array, k: int, seed: int) -> Any:
    model = make_pipeline(
        StandardScaler(),
        PCA(min(_COMPONENTS, *x.shape), random_state=seed),
        KMeans(k, n_init=_STARTS, random_state=seed),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different rows than k: no fault
        return model.fit(x)


def _markers(table: Records, truth: Records, most: int) -> Value:
    classes = [each for each in np.unique(truth.label) if 2 <= (truth.label == each).sum() <= len(truth) - 2]
    if not classes:
        return unsaid("no real class of two rows with two others")
    found, lacking = [], 0
    for each in classes:
        mine = table.label == each
        if not 2 <= mine.sum() <= len(mine) - 2:
            lacking += 1
            found.append(0.0)
            continue
        ours, theirs = (markers(side.x, side.label == each, most) for side in (table, truth))
        found.append(len(ours & theirs) / len(ours | theirs))
    note = f"{lacking} of {len(classes)} classes have too few rows in the table: no overlap" if lacking else ""
    return Value(value=float(np.mean(found)), note=note)


def markers(x: Array, group: Array, most: int) -> frozenset[int]:
    """Return the genes most raised in the group by Welch's t: ``most``, at most a tenth of all, at least one.

    Equal t are settled by the order of genes.
    """
    count = max(1, min(most, x.shape[1] // 10))
    t, _ = welch(x[group], x[~group])
    return frozenset(int(gene) for gene in np.argsort(-t, kind="stable")[:count])
