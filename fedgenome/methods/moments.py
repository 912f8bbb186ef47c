"""Arithmetic on noisy moments of standardised genes: label means, a low-rank part, and rows drawn from them.

All of it is post-processing: it reads noisy sums and public facts only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedgenome.query import Array

Floats = npt.NDArray[np.float64]

_LOOSE = 2.0  # norm, in the clip norm, up to which a row's energy is read
_APART = math.log(3)  # by how much labels differ in it: a standard deviation of its logarithm
_STRENGTHS = np.geomspace(1e-5, 4, 40)  # prior variances of a label mean that are looked at, in the genes' own
_LEAST_MEAN = 0.01  # of variances in units of their scale: less is noise
_LEAST_OWN = 0.05  # share of a gene's variance that is always its own
_LEAST_DENSITY = 1e-6  # of variances that a density divides by


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A Gaussian for each label, all with one covariance L Lᵀ + diag(own).

    Attributes:
        means: (labels, genes), in standard deviations about the centre.
        loadings: L, (genes, factors).
        own: (genes,) >= 0.
    """

    means: Floats
    loadings: Floats
    own: Floats


def energies(z: Floats, norm: float) -> Floats:
    """Return rows' squared norms in units of norm², (n, 2) within [0, 1]: up to 4, over 4; and up to 1.

    Their sums tell how much clipping to ``norm`` took off all second moments together.
    """
    energy = (z**2).sum(1) / norm**2
    return np.stack([np.minimum(energy / _LOOSE**2, 1), np.minimum(energy, 1)], axis=1)


def energy_of(mean: Floats) -> tuple[float, float]:
    """Return the mean squared norm in units of norm², and over that of clipped rows, from noisy means."""
    loose, short = np.clip(mean, 1e-3, 1) * (_LOOSE**2, 1)
    return float(loose), max(1.0, float(loose / short))


def profile(variances: Floats, energy: float) -> Floats:
    """Return genes' noisy variances so scaled that their mean is ``energy``; none below a tenth of it."""
    return np.asarray(np.maximum(variances / max(float(variances.mean()), _LEAST_MEAN), 0.1) * energy)


def padded(columns: Floats, n: int) -> Floats:
    """Return ``columns`` (genes, at most n) with zeros up to n, so that a state keeps its shape."""
    return np.pad(columns, ((0, 0), (0, n - columns.shape[1])))


def shrunk_means(raw: Floats, noise: Floats, values: Floats, vectors: Floats) -> Floats:
    """Return label means with noise taken out: δ ← αS(αS + s²I)⁻¹ δ, S the genes' covariance (Wiener).

    A label's α is the one, of a public grid, under which δ ~ N(0, αS + s²I) is likeliest, with a prior about the α
    that is likeliest for all labels together: the noise of a small label's mean can look like a large mean.

    Args:
        raw: (labels, genes) means with noise.
        noise: (labels,) its standard deviation.
        values: (genes,) eigenvalues of S, >= 0.
        vectors: (genes, genes) its eigenvectors, in columns.
    """
    if not noise.all():
        return raw
    rotated = raw @ vectors
    likely = np.array([_likelihoods(one, deviation, values) for one, deviation in zip(rotated, noise, strict=True)])
    common = int(likely.sum(0).argmax())
    apart = np.log(_STRENGTHS / _STRENGTHS[common]) / _APART
    prior = _STRENGTHS[(likely - apart**2 / 2).argmax(1)][:, None] * values
    return np.asarray(rotated * (prior / (prior + noise[:, None] ** 2)) @ vectors.T)


def _likelihoods(one: Floats, deviation: float, values: Floats) -> Floats:
    """Return the log likelihood of a rotated mean under each strength of the prior, (strengths,), up to a constant."""
    total = _STRENGTHS[:, None] * values + deviation**2
    return np.asarray(-(np.log(total) + one**2 / total).sum(1) / 2)


def within(loadings: Floats, variances: Floats, means: Floats, weights: Floats) -> Model:
    """Return the model whose rows over all labels have variance ``variances`` and the covariance of ``loadings``.

    What the labels' means account for is taken off; where that leaves less than nothing, nothing is left.

    Args:
        loadings: (genes, r): L Lᵀ of all labels together.
        variances: (genes,) of all labels together, > 0.
        means: (labels, genes).
        weights: (labels,) shares.
    """
    between = means.T * np.sqrt(weights)
    basis, core = np.linalg.qr(np.hstack([loadings, between]))
    signs = np.append(np.ones(loadings.shape[1]), -np.ones(between.shape[1]))
    values, vectors = np.linalg.eigh((core * signs) @ core.T)
    left = basis @ (vectors * np.sqrt(np.maximum(values, 0)))
    explained, room = (left**2).sum(1), np.maximum(variances - (between**2).sum(1), _LEAST_OWN * variances)
    # A gene cannot share more than it varies.
    left *= np.sqrt(np.minimum(1, (1 - _LEAST_OWN) * room / np.maximum(explained, 1e-12)))[:, None]
    return Model(means=means, loadings=left, own=room - (left**2).sum(1))


def drawn(arrays: Mapping[str, Array], labels: Array, rng: np.random.Generator, *, mirrored: bool) -> Floats:
    """Return :func:`draw` of released ``means``, ``loadings`` and ``own``."""
    return draw(released(arrays), labels, rng, mirrored=mirrored)


def released(arrays: Mapping[str, Array]) -> Model:
    """Return the model of released ``means``, ``loadings`` and ``own``; without loadings, of genes on their own."""
    own = np.asarray(arrays["own"], np.float64)
    loadings = np.asarray(arrays.get("loadings", np.zeros((len(own), 0))), np.float64)
    return Model(means=np.asarray(arrays["means"], np.float64), loadings=loadings, own=own)


def losses(arrays: Mapping[str, Array], x: Array, label: Array) -> Floats:
    """Return −log density of rows x (n, genes), as they are, of these labels, up to one constant (n,)."""
    return surprise(released(arrays), (x - arrays["centre"].astype(np.float64)) / arrays["scale"], label)


def draw(model: Model, labels: Array, rng: np.random.Generator, *, mirrored: bool) -> Floats:
    """Return one standardised row for each label code (n, genes).

    Args:
        mirrored: Rows of a label come in pairs δ ± e, so that their mean is the label's, without sampling noise.
    """
    n = len(labels)
    e = rng.standard_normal((n, model.loadings.shape[1])) @ model.loadings.T
    e += rng.standard_normal(e.shape) * np.sqrt(model.own)
    if mirrored:
        for label in np.unique(labels):
            at = np.flatnonzero(labels == label)
            half = len(at) // 2
            e[at[half : 2 * half]] = -e[at[:half]]
    return np.asarray(model.means[labels] + e)


def surprise(model: Model, z: Floats, labels: Array) -> Floats:
    """Return −log density of standardised rows z (n, genes) of these labels under ``model``, up to one constant (n,).

    With D = diag(own), (L Lᵀ + D)⁻¹ = D⁻¹ − D⁻¹L(1 + LᵀD⁻¹L)⁻¹LᵀD⁻¹ (Woodbury): no matrix of genes × genes.
    """
    own = np.maximum(model.own, _LEAST_DENSITY)
    e = (z - model.means[labels]) / np.sqrt(own)
    shared = model.loadings / np.sqrt(own)[:, None]
    core = np.linalg.cholesky(np.eye(shared.shape[1]) + shared.T @ shared)
    seen = np.linalg.solve(core, shared.T @ e.T)
    return np.asarray(((e**2).sum(1) - (seen**2).sum(0)) / 2)
