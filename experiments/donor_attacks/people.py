"""Donors with cells: simulated ones, real ones, and a generator that protects nobody.

A simulated donor has gene means of their own, as people have: their logarithms are off the population's by a standard
deviation of .15 (between the seven real donors the median over genes is .18 in one class and .26 in the other, sampling
noise included). Cells differ by depth, by two programmes that move genes together, and by negative binomial noise.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import anndata
import numpy as np
from scipy import special, stats

from experiments.synthesis import cohorts
from fedgenome.audit import cells
from fedgenome.audit.targets import Records
from fedgenome.query import Array

GENES, CLASSES, CELLS = 280, 2, 40  # cells of a simulated donor in each class
REAL_CELLS = 200  # of a real one
BETWEEN = 0.15  # standard deviation between donors of a gene's log mean
_MEAN, _SPREAD = 0.3, 1.2  # of genes: the median count, and the standard deviation of their logarithms
_PROGRAMMES, _STRENGTH, _DEPTH, _SIZE = 2, 0.3, 0.3, 2.0
_SEEN = 1e-4  # of a margin: the largest count that is drawn is seldomer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """What simulated donors have in common.

    Attributes:
        log_mean: Of each class's counts, (classes, genes).
        loading: Of the programmes, (programmes, genes).
    """

    log_mean: Array
    loading: Array


def population(rng: np.random.Generator) -> Population:
    """Return a population: classes share genes' levels but for a tenth of their spread."""
    level = np.log(_MEAN) + _SPREAD * rng.standard_normal(GENES)
    apart = _SPREAD * rng.standard_normal((CLASSES, GENES)) * (rng.random((CLASSES, GENES)) < 0.1)
    return Population(log_mean=level + apart, loading=_STRENGTH * rng.standard_normal((_PROGRAMMES, GENES)))


def donors(whole: Population, n: int, rng: np.random.Generator) -> Records:
    """Return the cells of n new donors, counts."""
    owner, label = (each.ravel() for each in np.mgrid[:n, : CLASSES * CELLS])
    label = label % CLASSES
    own = BETWEEN * rng.standard_normal((n, GENES))
    moved = rng.standard_normal((len(owner), _PROGRAMMES)) @ whole.loading
    log_mean = whole.log_mean[label] + own[owner] + moved + _DEPTH * rng.standard_normal((len(owner), 1))
    return Records(x=rng.poisson(rng.gamma(_SIZE, np.exp(log_mean) / _SIZE)), label=label, donor=owner)


def real(rng: np.random.Generator) -> Records:
    """Return cells of the seven real donors, CD4 and CD8, of the genes with the most counts.

    Raises:
        SpecError: the file is absent.
    """
    spec = cohorts.spec("tcells")
    table = anndata.read_h5ad(spec.source)
    owner = np.unique(table.obs["ind_cov"].to_numpy(), return_inverse=True)[1]
    label = np.unique(table.obs["cg_cov"].to_numpy(), return_inverse=True)[1]
    kept = [
        rng.permutation(np.flatnonzero((owner == who) & (label == which)))[:REAL_CELLS]
        for who in np.unique(owner)
        for which in np.unique(label)
    ]
    at = np.concatenate(kept)
    x = np.asarray(table.X[at].todense())
    most = np.sort(np.argsort(-x.sum(0), kind="stable")[:GENES])
    return Records(x=x[:, most].astype(np.int64), label=label[at], donor=owner[at])


def of(people: Records, groups: Sequence[int], rng: np.random.Generator) -> list[Records]:
    """Return the cells of groups of so many donors each, drawn by chance; nobody is in two."""
    units = rng.permutation(people.units)
    ends = np.cumsum([0, *groups])
    return [people.of(units[start:end]) for start, end in itertools.pairwise(ends)]


def generated(training: Records, rng: np.random.Generator) -> Records:
    """Return as many cells as ``training`` has, of a copula fitted to each class without any noise.

    The kind of generator that is usual for single cells (scDesign2, Sun et al. 2021), by moments.
    """
    made = np.empty(training.x.shape, np.int64)
    for each in np.unique(training.label):
        here = training.label == each
        law = cells.fit(cells.counts_of(training.rows(here), "training"))
        made[here] = _drawn(law, int(here.sum()), rng)
    return Records(x=made, label=training.label)


def _drawn(law: cells.Copula, n: int, rng: np.random.Generator) -> Array:
    scores = rng.standard_normal((n, len(law.mean)))
    scores[:, law.tied] = rng.multivariate_normal(np.zeros(len(law.tied)), law.correlation, n, method="cholesky")
    probability = np.clip(special.ndtr(scores), _SEEN, 1 - _SEEN)
    return np.asarray(stats.nbinom.ppf(probability, law.size, law.size / (law.size + law.mean))).astype(np.int64)
