"""Simpler attackers than the matcher: the nearest record, a regression on what pairs share, the masks themselves."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.linkage.dosages import joint
from fedgenome.audit.linkage.matcher import channel, log_ratios
from fedgenome.audit.linkage.measures import require_scores
from fedgenome.errors import require
from fedgenome.query import Array

_PAIRS = 100_000  # of two people, that a regression learns from at most


def agreement(probes: Array, candidates: Array) -> Array:
    """Return the share of variants told of both at which they agree, float64 (probes, candidates).

    1 − the normalised Hamming distance; 0 where they share none.
    """
    counts = joint(probes, candidates)
    same = np.einsum("ggpc->pc", counts)
    return np.asarray(same / np.maximum(counts.sum((0, 1)), 1))


def identity_by_state(probes: Array, candidates: Array) -> Array:
    """Return the mean share of alleles alike, 1 − |g − h|/2, over variants told of both; 0 where they share none."""
    counts = joint(probes, candidates)
    alike = 1 - np.abs(np.subtract.outer(np.arange(3), np.arange(3))) / 2
    return np.asarray(np.einsum("gh,ghpc->pc", alike, counts) / np.maximum(counts.sum((0, 1)), 1))


def features(probes: Array, candidates: Array) -> Array:
    """Return what is counted of a pair, float64 (probes, candidates, 9): shares of each pair of dosages, or 0."""
    counts = joint(probes, candidates)
    shares = counts / np.maximum(counts.sum((0, 1)), 1)
    return np.ascontiguousarray(shares.reshape(9, *counts.shape[2:]).transpose(1, 2, 0))


def regression(probes: Array, candidates: Array, owner: Array, rng: np.random.Generator) -> Pipeline:
    """Fit a logistic regression that tells pairs of one person from pairs of two, by their features.

    Args:
        probes: Of other people than those attacked, masked as the release is.
        candidates: Panel records, some of the same people.
        owner: int (probes,): which candidate is the probe's own person, or −1.
        rng: Draws the pairs of two people, where there are too many.
    """
    seen = features(probes, candidates)
    linked = require_scores(seen[..., 0], owner)
    require(len(linked) >= 1 and len(candidates) >= 2, "pairs of one person and of two", linked=len(linked))
    same = np.zeros(seen.shape[:2], dtype=bool)
    same[linked, owner[linked]] = True
    apart = seen[~same]
    apart = apart[rng.choice(len(apart), min(len(apart), _PAIRS), replace=False)]
    rows = np.concatenate([seen[same], apart])
    fitted: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    return fitted.fit(rows, np.repeat([1, 0], [int(same.sum()), len(apart)]))


def regressed(fitted: Pipeline, probes: Array, candidates: Array) -> Array:
    """Return the log-odds that a fitted regression gives each pair, float64 (probes, candidates)."""
    seen = features(probes, candidates)
    return np.asarray(fitted.decision_function(seen.reshape(-1, seen.shape[2])).reshape(seen.shape[:2]))


def withheld(released: Array) -> Array:
    """Return what a mask shows by itself, int8 (people, variants): 1 where an entry is withheld.

    A hard mask says so by a negative code, or NaN. A soft one, x · M of floats, by a zero: where M > 0 that is a dosage
    of 0, however small M is.
    """
    whole = np.issubdtype(released.dtype, np.integer)
    hidden = released < 0 if whole else (released == 0) | np.isnan(released)
    return np.asarray(hidden, dtype=np.int8)


def by_mask(released: Array, candidates: Array, base: Array, pairs: tuple[Array, Array]) -> Array:
    """Return the log-likelihood ratio of each probe and candidate by the masks alone, nats, float64.

    A list that is the same for everybody says nothing. Masks that depend on the person are matched as genotypes are, by
    how often an entry is withheld of other people of each dosage.

    Args:
        released: (probes, variants): dosages with hard masks, or floats with soft ones.
        candidates: Dosages (candidates, variants).
        base: Dosages of other people.
        pairs: Releases of others, and their panel records row by row.
    """
    shown, owners = pairs
    fitted = channel(base, (withheld(shown), owners), prior=np.full((3, 2), 0.5))
    return log_ratios(fitted, withheld(released), candidates)
