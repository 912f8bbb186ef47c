"""Phenotypes made from genotypes, for studies of masks and scores: real panels come without any.

Each of ``causal`` variants, drawn evenly among those that vary, has an effect per copy of N(0, 1)/√(2pq): rare alleles
do more, and all variants explain alike. Liability adds a shift of each ancestry and noise; those of most are cases.

Source: Yang, Lee, Goddard & Visscher 2011, "GCTA", simulation of a case–control phenotype; the shift by ancestry as in
Price et al. 2006, "Principal components analysis corrects for stratification".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedgenome.cohort.shard import Array
from fedgenome.errors import require


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phenotype:
    """What was drawn.

    Attributes:
        label: 1 for a case, 0 for a control, int64 (people,).
        liability: float64 (people,), of variance 1 but for what its parts have in common.
        causal: Columns of the dosages, rising, int64 (causal,).
        effects: Of one copy, in units of liability, float64 (causal,).
    """

    label: Array
    liability: Array
    causal: Array
    effects: Array


def simulate(
    dosages: Array,
    rng: np.random.Generator,
    *,
    causal: int = 20,
    heritability: float = 0.6,
    ancestry: Array | None = None,
    confounding: float = 0.0,
    prevalence: float = 0.5,
) -> Phenotype:
    """Draw a phenotype of these people.

    Args:
        dosages: int (people, variants), 0, 1 or 2; what is negative counts as the variant's mean.
        rng: Draws variants, effects, shifts and noise.
        causal: Variants with an effect.
        heritability: h², the variance of liability that they explain among these people.
        ancestry: Any labels (people,), two at least, if there is confounding.
        confounding: Variance of liability that ancestry explains beside them.
        prevalence: Share of cases, to the nearest person.

    Raises:
        SpecError: no dosages, fewer than ``causal`` that vary, or shares beyond their range.
    """
    shaped = dosages.ndim == 2 and len(dosages) >= 2 and np.issubdtype(dosages.dtype, np.integer)
    require(shaped, "integers of (people, variants), two people at least", shape=dosages.shape)
    require(int(dosages.max(initial=0)) <= 2, "dosages of 0, 1 and 2, or negative")
    shares = heritability >= 0 and confounding >= 0 and heritability + confounding < 1
    require(shares, "shares >= 0 that leave noise", heritability=heritability, confounding=confounding)
    require(0 < prevalence < 1, "0 < prevalence < 1", prevalence=prevalence)
    chosen, copies, frequency = _drawn(dosages, rng, causal)
    effects = rng.standard_normal(causal) / np.sqrt(2 * frequency * (1 - frequency))
    genetic = copies @ effects
    effects *= np.sqrt(heritability) / genetic.std()
    shift = _shift(ancestry, len(dosages), rng) if confounding else np.zeros(len(dosages))
    noise = rng.standard_normal(len(dosages)) * np.sqrt(1 - heritability - confounding)
    liability = copies @ effects + np.sqrt(confounding) * shift + noise
    label = np.zeros(len(dosages), np.int64)
    label[np.argsort(-liability)[: round(prevalence * len(dosages))]] = 1
    return Phenotype(label=label, liability=liability, causal=chosen, effects=effects)


def _drawn(dosages: Array, rng: np.random.Generator, causal: int) -> tuple[Array, Array, Array]:
    """Return the causal columns, their copies about the mean (people, causal), and how frequent the allele is."""
    called, varies = dosages >= 0, np.zeros(dosages.shape[1], np.bool_)
    for at, column in enumerate(dosages.T):
        seen = column[called[:, at]]
        varies[at] = len(seen) > 0 and seen.min() < seen.max()
    require(1 <= causal <= varies.sum(), "1 <= causal <= variants that vary", causal=causal, vary=int(varies.sum()))
    chosen = np.sort(rng.choice(np.flatnonzero(varies), causal, replace=False))
    copies = np.ma.masked_array(dosages[:, chosen].astype(np.float64), ~called[:, chosen])
    mean = np.asarray(copies.mean(0))
    return chosen, np.asarray((copies - mean).filled(0.0)), mean / 2


def _shift(ancestry: Array | None, people: int, rng: np.random.Generator) -> Array:
    """Return a shift for each person, one a group, of mean 0 and variance 1."""
    groups, at = np.unique([] if ancestry is None else np.asarray(ancestry), return_inverse=True)
    rule = "an ancestry of every person, two at least, as confounding is above 0"
    require(len(at) == people and len(groups) >= 2, rule, groups=len(groups))
    drawn = rng.standard_normal(len(groups))[at]
    return np.asarray((drawn - drawn.mean()) / drawn.std())
