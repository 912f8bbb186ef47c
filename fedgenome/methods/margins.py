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
    grid = below(_GRID[:, None], means, deviations, weights)
    zero, one = np.zeros((1, z.shape[1])), np.ones((1, z.shape[1]))
    ends = np.concatenate([zero, grid[np.searchsorted(_GRID, EDGES)], one])
    wanted = np.concatenate([zero, np.cumsum(shares.T, axis=0)])
    moved = np.empty_like(z)
    for gene in range(z.shape[1]):
        new = np.interp(grid[:, gene], ends[:, gene], wanted[:, gene])
        moved[:, gene] = np.interp(np.interp(z[:, gene], _GRID, grid[:, gene]), new, _GRID)
    return np.where(np.abs(z) < _FAR, moved, z)
