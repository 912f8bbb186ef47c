"""The likelihood matcher for numbers in place of dosages: expression, or genotypes times a soft mask.

A record shows of its owner's value y about α + βy, with Gaussian errors; of anybody else's, a draw from everybody. Both
laws come from other people, gene by gene, shrunk to what all genes have in common. Genes are taken for independent:
``leakage.temperature`` mends what that is too sure of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedgenome.audit.linkage.matcher import WEIGHT
from fedgenome.errors import require
from fedgenome.query import Array

_LEAST = 1e-6  # of a variance, as a share of all genes' mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """What a record shows of its owner's values; all float64 (genes,).

    Attributes:
        start: α.
        slope: β.
        error: Variance of what is shown about α + βy.
        mean: Of what is shown of anybody.
        spread: Its variance.
    """

    start: Array
    slope: Array
    error: Array
    mean: Array
    spread: Array


def fit(base: Array, pairs: tuple[Array, Array], weight: float = WEIGHT) -> Looks:
    """Fit looks to other people; NaN is not told.

    Args:
        base: Values of other people, float (people, genes).
        pairs: Records of others, as they are released, and their values in the panel, row by row.
        weight: People whose word all genes together have against a gene's own.
    """
    shown, owners = (np.asarray(each, np.float64) for each in pairs)
    require(shown.shape == owners.shape and len(shown) >= 2, "two pairs", shown=shown.shape, owners=owners.shape)
    require(base.shape[1:] == shown.shape[1:], "base and pairs of the same genes", base=base.shape, pairs=shown.shape)
    both = ~(np.isnan(shown) | np.isnan(owners))
    n = both.sum(0)
    shown_mean, owner_mean = (np.where(both, each, 0).sum(0) / np.maximum(n, 1) for each in (shown, owners))
    x, y = np.where(both, owners - owner_mean, 0), np.where(both, shown - shown_mean, 0)
    xx, yy, xy = (x * x).sum(0), (y * y).sum(0), (x * y).sum(0)
    usual = xx / np.maximum(n, 1)  # a gene's own scale, at which the common slope has a say
    slope = (xy + weight * usual * _share(xy.sum(), xx.sum())) / np.maximum(xx + weight * usual, _tiny(xx))
    left = yy - 2 * slope * xy + slope**2 * xx
    error = (left + weight * yy / np.maximum(n, 1) * _share(left.sum(), yy.sum())) / (n + weight)
    error = np.maximum(error, _tiny(error))
    values = np.asarray(base, np.float64)
    told = ~np.isnan(values)
    people = np.maximum(told.sum(0), 1)
    mean = np.where(told, values, 0).sum(0) / people
    spread = (np.where(told, values - mean, 0) ** 2).sum(0) / people
    start = shown_mean - slope * owner_mean
    return Looks(start=start, slope=slope, error=error, mean=start + slope * mean, spread=slope**2 * spread + error)


def log_ratios(fitted: Looks, probes: Array, candidates: Array) -> Array:
    """Return the log-likelihood ratio of each probe and candidate, nats, float64 (probes, candidates).

    What is NaN on either side adds nothing.
    """
    shown, values, told, known = _sides(fitted, probes, candidates)
    near = np.where(told, shown - fitted.start, 0)
    far = np.where(told, shown - fitted.mean, 0)
    expected = np.where(known, fitted.slope * values, 0)
    alone = far**2 / fitted.spread - near**2 / fitted.error + np.log(fitted.spread / fitted.error)
    twice = np.where(told, alone, 0) @ known.T.astype(np.float64)
    twice += 2 * (near / fitted.error) @ expected.T
    twice -= told.astype(np.float64) @ (expected**2 / fitted.error).T
    return np.asarray(twice / 2)


def nearness(fitted: Looks, probes: Array, candidates: Array) -> Array:
    """Return minus the mean squared distance over genes told of both, in spreads of a gene; −∞ where there are none."""
    shown, values, told, known = _sides(fitted, probes, candidates)
    scale = np.sqrt(fitted.spread)
    left = np.where(told, (shown - fitted.mean) / scale, 0)
    right = np.where(known, (fitted.start + fitted.slope * values - fitted.mean) / scale, 0)
    t, k = told.astype(np.float64), known.astype(np.float64)
    apart = left**2 @ k.T + t @ (right**2).T - 2 * left @ right.T
    shared = t @ k.T
    return np.where(shared > 0, -apart / np.maximum(shared, 1), -np.inf)


def _sides(fitted: Looks, probes: Array, candidates: Array) -> tuple[Array, Array, Array, Array]:
    shown, values = np.asarray(probes, np.float64), np.asarray(candidates, np.float64)
    genes = (len(fitted.slope),)
    fits = shown.shape[1:] == values.shape[1:] == genes
    require(fits, "the genes that looks were fitted to", fitted=genes, got=(probes.shape, candidates.shape))
    return shown, values, ~np.isnan(shown), ~np.isnan(values)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _tiny(values: Array) -> float:
    """Return a number that is small beside ``values``, and above 0."""
    return float(max(_LEAST * values.mean(), np.finfo(np.float64).tiny)) if values.size else 1.0
