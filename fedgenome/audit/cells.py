"""An attack on people by their cells: counts under a copula fitted to the table, beside one of other donors.

The table's cells of a class give every gene a negative binomial, and the genes that are seen in many cells a Gaussian
copula; so do the cells of auxiliary donors, whom nothing was trained on. A cell nearer to the table's copula, and
likelier under its margins, than to the auxiliary donors' is evidence for its donor; a donor's score is the mean of
their cells'. What is scored is a cell, who is judged a person: cells of one donor are alike whether or not anything
leaked, so an AUC over cells has no level (``experiments/donor_attacks`` measures how far it is off).

Source: Golob et al. 2026, "Privacy Vulnerabilities in Synthetic Single-Cell RNA-Sequence Data" (black box, with and
without auxiliary data). Not as published: negative binomials by moments, without zero inflation; distances of normal
scores, not of uniform ones; cells are put on one scale by the reference's cells, never by those under attack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from fedgenome.audit import measure
from fedgenome.audit.distance import per_donor
from fedgenome.audit.results import Attack
from fedgenome.audit.targets import Records
from fedgenome.errors import require
from fedgenome.query import Array

WITH, ALONE = "cell copula, auxiliary donors", "cell copula, alone"
THREATS = {WITH: "synthetic data, and cells of other donors", ALONE: "synthetic data only"}
SEEN = 0.2  # share of a class's cells in which a gene of the copula is at least; the published generator's rule
_SHRUNK = 0.1  # weight of no correlation
_EDGE = 1e-6  # of the cumulative probability: beyond it normal scores say no more
_POISSON = 1e6  # size of a negative binomial that does not spread more than Poisson


Raw = Callable[[Array], Array]  # (cells, genes) -> (cells,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Copula:
    """Counts of one class of cells.

    Attributes:
        mean: Of each gene, (genes,), positive.
        size: Of each gene's negative binomial, (genes,): variance mean + mean²/size.
        tied: Genes in the copula, int (tied,).
        correlation: Of their normal scores, (tied, tied).
    """

    mean: Array
    size: Array
    tied: Array
    correlation: Array

    def distance(self, counts: Array) -> Array:
        """Return the Mahalanobis distance of each cell's normal scores from 0, float64 (cells,)."""
        scores = _normal_scores(counts[:, self.tied], self.mean[self.tied], self.size[self.tied])
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", scores, np.linalg.solve(self.correlation, scores.T).T)))

    def log_likelihood(self, counts: Array) -> Array:
        """Return the log probability of each cell's genes outside the copula, float64 (cells,)."""
        loose = np.setdiff1d(np.arange(len(self.mean)), self.tied)
        log_p, _ = _laws(self.mean[loose], self.size[loose], counts[:, loose])
        return np.asarray(log_p[np.arange(len(loose)), counts[:, loose]].sum(1))


def fit(counts: Array, tied: Array | None = None) -> Copula:
    """Return the copula of one class of cells.

    Args:
        counts: (cells, genes), whole numbers of an integer dtype, at least two cells.
        tied: Genes in the copula; default: those seen in a fifth of the cells.
    """
    n = len(counts)
    require(n >= 2, "two cells at least", cells=n)
    mean = np.maximum(counts.mean(0), 0.5 / n)  # a gene in none of n cells may be in the next
    excess = counts.var(0, ddof=1) - mean
    size = np.divide(mean**2, excess, out=np.full(len(mean), _POISSON), where=excess > mean**2 / _POISSON)
    within = np.flatnonzero((counts > 0).mean(0) >= SEEN) if tied is None else tied
    scores = _normal_scores(counts[:, within], mean[within], size[within])
    spread = np.maximum(scores.std(0), 1e-9)
    about = (scores - scores.mean(0)) / spread
    correlation = (1 - _SHRUNK) * (about.T @ about) / n
    correlation[np.diag_indices(len(within))] = 1.0
    return Copula(mean=mean, size=size, tied=within, correlation=correlation)


def with_auxiliary(people: Records, table: Records, base: Records) -> Array:
    """Score cells by log(distance to base/distance to table) + log-likelihood ratio/√(its genes), in (0, 1), (cells,).

    Args:
        people: Cells under attack, counts.
        table: Synthetic cells, counts.
        base: Cells of donors who are neither members nor controls.
    """

    def compared(made: Array, real: Array) -> Raw:
        of_table = fit(made)
        of_base = fit(real, of_table.tied)
        weight = 1 / np.sqrt(max(1, made.shape[1] - len(of_table.tied)))

        def raw(cells: Array) -> Array:
            nearer = np.log(of_base.distance(cells) + _EDGE) - np.log(of_table.distance(cells) + _EDGE)
            return np.asarray(nearer + weight * (of_table.log_likelihood(cells) - of_base.log_likelihood(cells)))

        return raw

    return _by_class(people, table, base, compared)


def alone(people: Records, table: Records) -> Array:
    """Score cells by −log distance to the table's copula, in (0, 1), (cells,); the table's own cells are the scale."""

    def compared(made: Array, _: Array) -> Raw:
        of_table = fit(made)
        return lambda cells: -np.log(of_table.distance(cells) + _EDGE)

    return _by_class(people, table, table, compared)


def scores(people: Records, table: Records, base: Records | None) -> dict[str, Array]:
    """Return the scores of cells under each attack; without ``base`` of the one that needs none."""
    found = {ALONE: alone(people, table)}
    return found if base is None else {WITH: with_auxiliary(people, table, base)} | found


def audit(members: Records, controls: Records, table: Records, base: Records | None = None) -> tuple[Attack, ...]:
    """Return what the attacks achieve, by donor.

    Args:
        members: Counts of donors in training, with their donors.
        controls: Counts of donors like them whom nothing was trained on.
        table: The synthetic cells.
        base: Donors who are neither.

    Raises:
        SpecError: rows that are not counts, of differing genes, or fewer than two donors in a group.
    """
    inside, outside = scores(members, table, base), scores(controls, table, base)
    return tuple(
        measure.of_scores(
            name, THREATS[name], per_donor(inside[name], members.owner), per_donor(outside[name], controls.owner)
        )
        for name in inside
    )


def counts_of(records: Records, what: str) -> Array:
    """Return the rows as int64.

    Raises:
        SpecError: a value is negative or no whole number.
    """
    whole = records.x.astype(np.int64)
    require(bool((whole == records.x).all() and (whole >= 0).all()), f"counts in {what}: whole numbers, at least 0")
    return np.asarray(whole)


def _by_class(people: Records, table: Records, scale: Records, compared: Callable[[Array, Array], Raw]) -> Array:
    """Return raw scores class by class, standardised by those of the ``scale``'s cells, then squeezed into (0, 1).

    A class of fewer than two cells in the table or in the scale is compared with all of their cells.
    """
    cells, made, real = counts_of(people, "people"), counts_of(table, "table"), counts_of(scale, "base")
    genes = {"people": cells.shape[1], "table": made.shape[1], "base": real.shape[1]}
    require(len(set(genes.values())) == 1, "the same number of genes everywhere", **genes)
    out = np.empty(len(cells))
    for each in np.unique(people.label):
        here = people.label == each
        own = _of_class(real, scale.label, each)
        raw = compared(_of_class(made, table.label, each), own)
        usual = raw(own)
        out[here] = special.expit((raw(cells[here]) - usual.mean()) / max(float(usual.std()), _EDGE))
    return out


def _of_class(counts: Array, label: Array, each: int) -> Array:
    mine = label == each
    return counts[mine] if mine.sum() >= 2 else counts


def _normal_scores(counts: Array, mean: Array, size: Array) -> Array:
    """Return Φ⁻¹ of the cumulative probability in the middle of each count, (cells, genes)."""
    log_p, cumulative = _laws(mean, size, counts)
    middle = cumulative - np.exp(log_p) / 2
    scores = special.ndtri(np.clip(middle, _EDGE, 1 - _EDGE))
    return np.asarray(scores[np.arange(len(mean)), counts])


def _laws(mean: Array, size: Array, counts: Array) -> tuple[Array, Array]:
    """Return log probabilities and cumulative ones of the counts that occur, (genes, largest count + 1) each."""
    each = np.arange(int(counts.max(initial=0)) + 1)
    law = stats.nbinom(size[:, None], (size / (size + mean))[:, None])
    log_p = law.logpmf(each)
    return log_p, np.minimum(1.0, np.cumsum(np.exp(log_p), axis=1))
