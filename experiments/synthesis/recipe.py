"""The published recipe, written anew: quartile bins, noisy label × gene tables, a star of independent genes.

Filienko, De Cock & Pentyala (arXiv 2604.27456) bin every gene at its quartiles, noise the label's marginal and that
of each (gene, label) pair, fit Private-PGM to them and put the bin's mean in place of a bin. All measured marginals
hold the label: the graph is a star, its cliques are the pairs, and the fit that is nearest to the noisy marginals in
L2 falls apart. Given the label's marginal p, each row (gene, label, ·) of a table is the projection of the noisy row
onto the simplex of size p(label), which sorting solves; p itself is what the label's marginal and the row totals of
all genes say together, weighted by inverse variance. So there is nothing for a library to iterate. (Where the simplex
binds, p has a small term more, which is left out.) The d marginals of single genes that the paper measures too are
sums of the pairs': measured, they would only take budget from them, so that the recipe here is a little better.

:func:`unpaid` is the recipe as published: quartiles and bin means are exact and nobody pays for them, Gaussian noise
is set by Rényi DP. :func:`paid` charges everything: edges .30, bin means .15, tables .55 of the budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedgenome.audit.targets import Records
from fedgenome.errors import require
from fedgenome.privacy import accounting
from fedgenome.query import Array, Mechanism
from fedgenome.study import Plan

Floats = npt.NDArray[np.float64]

BINS = 4
SHARES = {"edges": 0.30, "means": 0.15, "tables": 0.55}
_REACH = 2.0  # the outer bins' width in paid interquartile ranges; values beyond count as at the end
_HISTOGRAM = 32  # even bins of the public range that paid quartiles are read off


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Star:
    """A fitted recipe.

    Attributes:
        sizes: Donors of each label as far as known, (labels,), >= 0, not all 0.
        tables: Bin probabilities given the label, (labels, genes, bins).
        values: What stands for a bin, (genes, bins).
    """

    sizes: Floats
    tables: Floats
    values: Floats

    @property
    def weights(self) -> Floats:
        """Share of each label."""
        return np.asarray(self.sizes / self.sizes.sum())


def unpaid(rows: Records, labels: int, epsilon: float | None, delta: float, rng: np.random.Generator) -> Star:
    """Fit the recipe as published; without ``epsilon``, without noise.

    Args:
        rows: Training rows, one a donor.
        labels: Number of classes.
        epsilon: Price of the noisy marginals alone, by Rényi DP.
        delta: δ.
        rng: Draws the noise.
    """
    x = np.asarray(rows.x, np.float64)
    edges = np.quantile(x, np.arange(1, BINS) / BINS, axis=0).T
    binned = digitize(x, edges)
    counts = np.stack([(binned == b).sum(0) for b in range(BINS)], axis=1)
    sums = np.stack([np.where(binned == b, x, 0).sum(0) for b in range(BINS)], axis=1)
    values = np.where(counts > 0, sums / np.maximum(counts, 1), x.mean(0)[:, None])
    sigma = 0.0 if epsilon is None else renyi_multiplier(epsilon, delta)
    return _fitted(binned, rows.label, labels, values, sigma, rng)


def paid(
    rows: Records, labels: int, span: tuple[float, float], epsilon: float, delta: float, rng: np.random.Generator
) -> Star:
    """Fit the recipe with every statistic charged, central Gaussian noise, composed exactly.

    Edges are read off a noisy histogram of each gene over the public range, a vote a gene: norm √genes. A bin's mean
    is its middle and a noisy mean of how far values lie from it, in half widths: norm √genes again.

    Args:
        rows: Training rows, one a donor.
        labels: Number of classes.
        span: The public range.
        epsilon: Price of everything.
        delta: δ.
        rng: Draws the noise.
    """
    level = multiplier(epsilon, delta)
    x = np.clip(np.asarray(rows.x, np.float64), *span)
    norm = math.sqrt(x.shape[1])
    edges = _paid_edges(x, span, level / math.sqrt(SHARES["edges"]) * norm, rng)
    binned = digitize(x, edges)
    star = _fitted(binned, rows.label, labels, np.zeros((0, 0)), level / math.sqrt(SHARES["tables"]), rng)
    values = _paid_values(x, binned, edges, span, star, level / math.sqrt(SHARES["means"]) * norm, rng)
    return Star(sizes=star.sizes, tables=star.tables, values=values)


def draw(star: Star, rows: int, rng: np.random.Generator) -> Records:
    """Return rows of the recipe: a label by its share, then each gene's bin by its table, then the bin's value."""
    label = np.sort(rng.choice(len(star.weights), rows, p=star.weights))
    cumulative = np.cumsum(star.tables, axis=2)
    u = rng.random((rows, star.tables.shape[1], 1))
    binned = np.minimum((u >= cumulative[label]).sum(2), BINS - 1)
    return Records(x=star.values[np.arange(len(star.values)), binned].astype(np.float32), label=label)


def multiplier(epsilon: float, delta: float) -> float:
    """Return the noise multiplier of one Gaussian query of the whole budget, by the library's accountant."""

    def plan(noise: float) -> Plan:
        return Plan(mechanisms=(Mechanism(kind="gaussian", level=noise, scope="recipe"),))

    return accounting.calibrate(plan, epsilon, accounting.usable(plan(1.0), epsilon, delta))


def renyi_multiplier(epsilon: float, delta: float) -> float:
    """Return the multiplier at which ρ + 2·√(ρ·ln(1/δ)) = ε, ρ = 1/(2σ²): RDP over all real orders (Mironov 2017)."""
    require(epsilon > 0 and 0 < delta < 1, "epsilon > 0 and 0 < delta < 1", epsilon=epsilon, delta=delta)
    log = math.log(1 / delta)
    rho = (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
    return math.sqrt(1 / (2 * rho))


def digitize(x: Floats, edges: Floats) -> npt.NDArray[np.int64]:
    """Return the bin of each value (n, genes), by each gene's own rising ``edges`` (genes, bins − 1)."""
    return np.asarray((x[:, :, None] > edges).sum(2), np.int64)


def star_fit(tables: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Return label sizes and bin probabilities nearest to noisy counts (see the module).

    Args:
        tables: (labels, genes, bins), noise of one deviation.
        counts: (labels,), of the same.
    """
    labels, genes, bins = tables.shape
    # A row total has the noise of `bins` numbers, and there is one a gene; the label's marginal has that of one.
    sizes = np.maximum((tables.sum(2).sum(1) / bins + counts) / (genes / bins + 1), 0)
    if sizes.sum() <= 0:
        return np.full(labels, 1 / labels), np.full(tables.shape, 1 / bins)
    safe = np.maximum(sizes, 1e-9)[:, None, None]
    return sizes, np.where(sizes[:, None, None] > 0, simplex(tables / safe), 1 / bins)


def simplex(rows: Floats) -> Floats:
    """Return the points nearest to ``rows`` (…, n) that are not negative and sum to 1 (Duchi et al. 2008)."""
    falling = -np.sort(-rows, axis=-1)
    excess = (np.cumsum(falling, axis=-1) - 1) / np.arange(1, rows.shape[-1] + 1)
    last = (falling > excess).sum(-1, keepdims=True) - 1
    return np.asarray(np.maximum(rows - np.take_along_axis(excess, last, -1), 0))


def _fitted(
    binned: Array, label: Array, labels: int, values: Floats, multiplier: float, rng: np.random.Generator
) -> Star:
    """Return the star of noisy counts: a donor is in one cell of each of genes + 1 tables, norm √(genes + 1)."""
    genes = binned.shape[1]
    sigma = multiplier * math.sqrt(genes + 1)
    hot = (binned[:, :, None] == np.arange(BINS)).astype(np.float64)
    tables = np.stack([hot[label == one].sum(0) for one in range(labels)])
    counts = np.bincount(label, minlength=labels).astype(np.float64)
    tables += sigma * rng.standard_normal(tables.shape)
    sizes, tables = star_fit(tables, counts + sigma * rng.standard_normal(labels))
    return Star(sizes=sizes, tables=tables, values=values)


def _paid_edges(x: Floats, span: tuple[float, float], sigma: float, rng: np.random.Generator) -> Floats:
    low, high = span
    width = (high - low) / _HISTOGRAM
    at = np.minimum(((x - low) / width).astype(np.int64), _HISTOGRAM - 1)
    votes = np.stack([(at == b).sum(0) for b in range(_HISTOGRAM)], axis=1)
    noisy = votes + sigma * rng.standard_normal(votes.shape)
    donors = max(1.0, float(noisy.sum(1).mean()))  # as the noisy votes say: their number is private too
    density = simplex(noisy / donors)
    points, cumulative = np.linspace(low, high, _HISTOGRAM + 1), np.cumsum(density, axis=1)
    wanted = np.arange(1, BINS) / BINS
    return np.stack([np.interp(wanted, np.append(0.0, one), points) for one in cumulative])


def _paid_values(
    x: Floats,
    binned: Array,
    edges: Floats,
    span: tuple[float, float],
    star: Star,
    sigma: float,
    rng: np.random.Generator,
) -> Floats:
    reach = _REACH * (edges[:, -1:] - edges[:, :1])
    ends = np.clip(np.concatenate([edges[:, :1] - reach, edges, edges[:, -1:] + reach], axis=1), *span)
    middle, half = (ends[:, 1:] + ends[:, :-1]) / 2, np.maximum(np.diff(ends, axis=1) / 2, 1e-6)
    genes = np.arange(len(edges))
    off = np.clip((x - middle[genes, binned]) / half[genes, binned], -1, 1)
    sums = np.stack([np.where(binned == b, off, 0).sum(0) for b in range(BINS)], axis=1)
    noisy = sums + sigma * rng.standard_normal(sums.shape)
    inside = np.einsum("l,lgb->gb", star.sizes, star.tables)
    return np.asarray(middle + half * np.clip(noisy / np.maximum(inside, 1.0), -1, 1))
