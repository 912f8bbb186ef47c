"""Attacks by density: how many of a generator's rows lie about a record, alone or beside what real people explain."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KernelDensity

from fedgenome.audit.distance import nearest
from fedgenome.audit.targets import Records, Target
from fedgenome.query import Array

COMPONENTS = 20  # of the projection, where rows and genes allow as many
_FLAT = 1e-9  # of the largest variance: a component below it is rounding
_CELLS = 1 << 22  # distances held at once: 32 MiB


def monte_carlo(people: Records, target: Target, base: Records) -> Array:
    """Score rows by the share of samples within a ball about them, float64 (rows,).

    The radius is the median distance of a row of the control base to its nearest sample, so that neither members
    nor controls shape it (the paper's heuristic takes it over the records in question).

    Source: Hilprecht, Härterich & Bernau 2019, "Monte Carlo and Reconstruction Membership Inference Attacks against
    Generative Models" (the ε-ball variant, median heuristic).
    """
    radius = float(np.median(nearest(base.x, target.samples.x)))
    # Distances come from products: a radius of 0, half of the base being in the samples, still finds equal rows.
    within = max(radius, 1e-5) ** 2
    samples = target.samples.x.astype(np.float64)
    own = np.einsum("ij,ij->i", samples, samples)
    step = max(1, _CELLS // len(samples))
    shares = [np.empty(0)]
    for i in range(0, len(people), step):
        rows = people.x[i : i + step].astype(np.float64)
        squared = own - 2.0 * rows @ samples.T + np.einsum("ij,ij->i", rows, rows)[:, None]
        shares.append((squared <= within).mean(axis=1))
    return np.concatenate(shares)


def density_ratio(people: Records, target: Target, base: Records) -> Array:
    """Score rows by the log density of the table over that of the control base, float64 (rows,).

    Both are Gaussian kernel estimates with Scott's bandwidth, in one projection: the first principal components of
    base and table together, each scaled to unit variance. People who are in question have no part in it. A row is
    in a dense part of *any* good table where people are many; the ratio takes that out.

    Source: van Breugel et al. 2023, "Membership Inference Attacks against Synthetic Data through Overfitting
    Detection" (DOMIAS, equation 2).
    """
    genes = np.ptp(np.concatenate([base.x, target.table.x]), axis=0) > 0
    if not genes.any():
        return np.zeros(len(people))
    shown, real, table = _projected(*(each[:, genes] for each in (people.x, base.x, target.table.x)))
    return _log_density(shown, table) - _log_density(shown, real)


def _projected(rows: Array, base: Array, table: Array) -> tuple[Array, Array, Array]:
    """Return all three on the axes of the last two, (rows, components) each."""
    both = np.concatenate([base, table], dtype=np.float64)
    fitted = PCA(min(COMPONENTS, *both.shape), random_state=0).fit(both)
    variance = fitted.explained_variance_
    kept = variance > _FLAT * variance[0]
    seen, real, made = (
        fitted.transform(each.astype(np.float64))[:, kept] / np.sqrt(variance[kept]) for each in (rows, base, table)
    )
    return seen, real, made


def _log_density(rows: Array, points: Array) -> Array:
    return np.asarray(KernelDensity(bandwidth="scott").fit(points).score_samples(rows))
