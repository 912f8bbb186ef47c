"""Was somebody in the study whose allele frequencies are published? Attacks on released frequencies.

The attacker holds the frequencies, a person's dosages, and frequencies of other people of the same population. Each
variant moves the published frequency towards its members by 1/n of what they differ from the population; thousands of
variants add up, whether or not any is told closely.

Sources: Homer et al. 2008, "Resolving individuals contributing trace amounts of DNA to highly complex mixtures";
Sankararaman, Obozinski, Jordan & Halperin 2009, "Genomic privacy and limits of individual detection in a pool", whose
likelihood ratio is the most powerful test where variants are independent and frequencies exact.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from fedgenome.audit import measure
from fedgenome.audit.linkage.dosages import frequencies, require_dosages
from fedgenome.audit.results import Attack
from fedgenome.errors import require
from fedgenome.query import Array

THREAT = "released allele frequencies, and genotypes of other people"
HOMER, RATIO, AWARE = "Homer's distance", "likelihood ratio", "likelihood ratio under noise"
_LEAST = 1e-3  # frequency that an allele is taken to have, at least


def homer(people: Array, released: Array, population: Array) -> Array:
    """Return Σ |x/2 − p| − |x/2 − p̂| over variants, float64 (people,): larger for those nearer to the release.

    Args:
        people: Dosages (people, variants); what is negative says nothing.
        released: Frequencies p̂ of ALT, (variants,).
        population: Frequencies p of other people, (variants,).
    """
    told, half = _checked(people, released, population), people / 2
    return np.asarray(np.where(told, abs(half - population) - abs(half - released), 0.0).sum(1))


def likelihood_ratio(people: Array, released: Array, population: Array) -> Array:
    """Return the log-likelihood ratio of "drawn from the release" against "from the population", nats, (people,).

    Σ x·log(p̂/p) + (2 − x)·log((1 − p̂)/(1 − p)): Sankararaman et al. 2009, equation 1, of two alleles a person.
    """
    told = _checked(people, released, population)
    p, q = (np.clip(each, _LEAST, 1 - _LEAST) for each in (population, released))
    x = np.where(told, people, 0)
    of_alt, of_ref = np.log(q / p), np.log((1 - q) / (1 - p))
    return np.asarray(x @ of_alt + (2 * told - x) @ of_ref)


def under_noise(people: Array, released: Array, population: Array, size: float, noise: float) -> Array:
    """Return the log-likelihood ratio of "one of ``size`` members", where frequencies have noise, float64 (people,).

    The published frequency is normal about the population's, with variance p(1 − p)/(2n) + noise²; of a member about
    p + (x/2 − p)/n. Rare variants then weigh by how far they stand out of the noise, not by how far out of sampling.

    Args:
        people: Dosages (people, variants).
        released: p̂, as it was opened: not cut to [0, 1].
        population: p.
        size: n, people in the study.
        noise: Standard deviation of the noise in p̂.
    """
    told = _checked(people, released, population)
    require(size >= 1 and noise >= 0, "size >= 1 and noise >= 0", size=size, noise=noise)
    p = np.clip(population, _LEAST, 1 - _LEAST)
    shift = np.where(told, people / 2 - p, 0.0) / size
    variance = p * (1 - p) / (2 * size) + noise**2
    return np.asarray((shift * (released - p) / variance - shift**2 / (2 * variance)).sum(1))


def attacks(
    members: Array, controls: Array, base: Array, released: Array, *, size: float, noise: float = 0.0
) -> tuple[Attack, ...]:
    """Return what each attack achieves on one study's frequencies, with intervals over people.

    Args:
        members: Dosages of people in the study, (m, variants).
        controls: Of people of the same population who are not in it, (n, variants).
        base: Of others again, by whom the population's frequencies are known.
        released: Frequencies of ALT, (variants,), as they were opened.
        size: People in the study, as its label counts say.
        noise: Standard deviation of the noise in a frequency.
    """
    population, cut = frequencies(base), np.clip(released, 0, 1)
    found = {
        HOMER: [homer(side, cut, population) for side in (members, controls)],
        RATIO: [likelihood_ratio(side, cut, population) for side in (members, controls)],
        AWARE: [under_noise(side, released, population, size, noise) for side in (members, controls)],
    }
    return tuple(measure.of_scores(name, THREAT, inside, outside) for name, (inside, outside) in found.items())


def best_auc(multiplier: float) -> float:
    """Return the largest AUC that any attacker can have on one Gaussian sum: Φ(1/(z·√2)).

    Source: Dong, Roth & Su 2022, "Gaussian differential privacy": the trade-off curve of N(0, 1) against N(1/z, 1).

    Args:
        multiplier: z, the noise's standard deviation over the sensitivity.
    """
    require(multiplier > 0, "multiplier > 0", multiplier=multiplier)
    return float(stats.norm.cdf(1 / (multiplier * math.sqrt(2))))


def _checked(people: Array, released: Array, population: Array) -> Array:
    """Return which dosages are told, bool (people, variants)."""
    variants = require_dosages(people=people)
    fits = released.shape == population.shape == (variants,)
    require(fits, "a frequency of every variant", variants=variants, released=released.shape)
    require(bool(np.isfinite(released).all() and np.isfinite(population).all()), "finite frequencies")
    return np.asarray(people >= 0)
