"""Genes' own shapes over a Gaussian's: paid histograms of standardised genes, and the map that gives them to rows.

Histograms are believed as far as all genes' noise lets: what they say beyond the Gaussian's own shares of the same
bins is shrunk direction by direction (skewness, weight of the tails, ...), so that where nothing shows, rows stay as
they are. All of it is post-processing.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from fedgenome.methods.bundle import Floats
from fedgenome.query import Array

EDGES = (-2.2, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.2)  # of standardised genes, public
BINS = len(EDGES) + 1
_FAR = 6.0  # values beyond stay where they are
_GRID = np.union1d(np.linspace(-_FAR, _FAR, 121), EDGES)  # where distribution functions are looked at
_FLAT = 1e-9  # slope of a distribution function, at least, where its logarithm is taken
_LEAST = 1e-4  # share of a bin, at least: a distribution function that rises has an inverse


def indicators(z: Floats) -> Floats:
    """Return which bin each value of z (n, genes) is in, one-hot (n, genes · bins): a row's norm is √genes."""
    return np.eye(BINS)[np.searchsorted(EDGES, z)].reshape(len(z), z.shape[1] * BINS)


def below(at: Array, means: Floats, deviations: Floats, weights: Array) -> Floats:
    """Return the share of a mixture of labels' normals that is below each of ``at`` (n, genes or 1), (n, genes).

    Args:
        at: Values of standardised genes.
        means: (labels, genes).
        deviations: (genes,) of every label.
        weights: (labels,) shares.
    """
    parts = (w * ndtr((at - mean) / deviations) for w, mean in zip(weights, means, strict=True))
    return np.asarray(sum(parts))


def expected(means: Floats, deviations: Floats, weights: Array) -> Floats:
    """Return the shares of bins (genes, bins) that the mixture itself has."""
    inner = below(np.array(EDGES)[:, None], means, deviations, weights)
    return np.diff(inner, axis=0, prepend=0.0, append=1.0).T


def learned(noisy: Floats, model: Floats, deviation: float) -> Floats:
    """Return shares of bins (genes, bins): the model's, and of what noisy ones say beyond it what outlives their noise.

    Args:
        noisy: (genes, bins) shares.
        model: What :func:`expected` gives.
        deviation: Of the noise in a share.
    """
    beyond = noisy - model
    beyond -= beyond.mean(1, keepdims=True)
    values, vectors = np.linalg.eigh(beyond.T @ beyond / len(beyond))
    edge = (deviation * (1 + math.sqrt(BINS / len(beyond)))) ** 2  # of what noise alone shows (Marchenko and Pastur)
    kept = np.maximum(values - edge, 0) / np.maximum(values, 1e-12)
    shares = np.maximum(model + beyond @ (vectors * kept) @ vectors.T, _LEAST)
    return np.asarray(shares / shares.sum(1, keepdims=True))


def shaped(z: Floats, shares: Floats, means: Floats, deviations: Floats, weights: Array) -> Floats:
    """Return rows z (n, genes) of the mixture so moved, gene by gene and in order, that bins get their ``shares``.

    Within a bin the mixture's own shape stays: under its own shares every row stays where it is.
    """
    grid, new = _curves(shares, means, deviations, weights)
    moved = np.empty_like(z)
    for gene in range(z.shape[1]):
        moved[:, gene] = np.interp(np.interp(z[:, gene], _GRID, grid[:, gene]), new[:, gene], _GRID)
    return np.where(np.abs(z) < _FAR, moved, z)


def unshaped(y: Floats, shares: Floats, means: Floats, deviations: Floats, weights: Array) -> tuple[Floats, Floats]:
    """Return the rows (n, genes) that :func:`shaped` moves to ``y``, and the log of how much they move with it (n,)."""
    grid, new = _curves(shares, means, deviations, weights)
    moved, slopes = np.empty_like(y), np.zeros_like(y)
    for gene in range(y.shape[1]):
        moved[:, gene] = np.interp(np.interp(y[:, gene], _GRID, new[:, gene]), grid[:, gene], _GRID)
        slopes[:, gene] = _steep(new[:, gene], y[:, gene]) - _steep(grid[:, gene], moved[:, gene])
    near = np.abs(y) < _FAR
    return np.where(near, moved, y), np.where(near, slopes, 0.0).sum(1)


def _steep(curve: Floats, at: Floats) -> Floats:
    """Return the log of a distribution function's slope where ``at`` (n,) lies, between two points of the grid."""
    rises = np.log(np.maximum(np.diff(curve) / np.diff(_GRID), _FLAT))
    return np.asarray(rises[np.clip(np.searchsorted(_GRID, at) - 1, 0, len(rises) - 1)])


def _curves(shares: Floats, means: Floats, deviations: Floats, weights: Array) -> tuple[Floats, Floats]:
    """Return the mixture's distribution functions on the grid (grid, genes), and those with bins of these shares."""
    genes = len(deviations)
    grid = below(_GRID[:, None], means, deviations, weights)
    zero, one = np.zeros((1, genes)), np.ones((1, genes))
    ends = np.concatenate([zero, grid[np.searchsorted(_GRID, EDGES)], one])
    wanted = np.concatenate([zero, np.cumsum(shares.T, axis=0)])
    new = [np.interp(grid[:, gene], ends[:, gene], wanted[:, gene]) for gene in range(genes)]
    return grid, np.stack(new, axis=1)
