"""The likelihood matcher: is this record of that person? The attack that the others are measured against.

At a variant where the candidate has g and the probe shows s it adds log P(s | g, the same person) − log P(s | anybody).
Both laws come from other people: how often two records of one person agree, and how common genotypes are. Variants are
taken for independent: right for a list that is thin on the genome, too sure of itself on a dense one, which
``leakage.temperature`` mends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedgenome.audit.linkage.dosages import GENOTYPES, chunks, frequencies, one_hot, require_dosages
from fedgenome.errors import require
from fedgenome.query import Array

ERROR = 0.01  # of a genotype, where no pair says better
WEIGHT = 20.0  # people whose word the rate over all variants has against a variant's own


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Channel:
    """What a probe's symbol says of its owner.

    Attributes:
        ratios: float32 (variants, 3, symbols): log P(symbol | the owner's dosage) − log P(symbol).
    """

    ratios: Array


def errors(rate: float = ERROR) -> Array:
    """Return the law of a probe's dosage given its owner's, float64 (3, 3): wrong with chance ``rate``."""
    require(0 < rate < 1, "0 < rate < 1", rate=rate)
    return np.where(np.eye(GENOTYPES, dtype=bool), 1 - rate, rate / (GENOTYPES - 1))


def channel(
    base: Array,
    pairs: tuple[Array, Array] | None = None,
    *,
    prior: Array | None = None,
    weight: float = WEIGHT,
) -> Channel:
    """Fit a channel to other people.

    A variant's law of errors is the pairs' counts there and ``weight`` people of the law over all variants; that is all
    counts and ``weight`` genotypes of each dosage of ``prior``. Genotypes are as common as in ``base``, with one person
    of Hardy–Weinberg proportions added.

    Args:
        base: Dosages (people, variants) as the candidates' panel would have them, of neither probes nor candidates.
        pairs: Probes, masked as the release is, and panel records of the same people row by row; or None.
        prior: float (3, symbols), rows that add up to 1, all above 0; ``errors()`` if None.
        weight: See above.
    """
    law = errors() if prior is None else prior
    sums = law.ndim == 2 and np.allclose(law.sum(1), 1) and bool((law > 0).all()) and len(law) == GENOTYPES
    require(sums, "a prior of 3 rows that add up to 1, all above 0", shape=law.shape)
    require(weight > 0, "weight > 0", weight=weight)
    variants, symbols = require_dosages(base=base), law.shape[1]
    counts = np.zeros((variants, GENOTYPES, symbols))
    if pairs is not None:
        counts += _counts(*pairs, variants, symbols)
    everywhere = counts.sum(0) + weight * law
    everywhere /= everywhere.sum(1, keepdims=True)
    shown = counts + weight * everywhere
    shown /= shown.sum(2, keepdims=True)
    anybody = np.einsum("vg,vgs->vs", _genotypes(base), shown)
    return Channel(ratios=(np.log(shown) - np.log(anybody)[:, None]).astype(np.float32))


def log_ratios(fitted: Channel, probes: Array, candidates: Array) -> Array:
    """Return the log-likelihood ratio of each probe and candidate, nats, float64 (probes, candidates).

    What is missing or masked on either side adds nothing. Products are float32 over chunks of variants, their sums
    float64.

    Args:
        fitted: On other people, for these variants.
        probes: Symbols (probes, variants): released dosages, or whatever the channel was fitted to.
        candidates: Dosages (candidates, variants).
    """
    variants, _, symbols = fitted.ratios.shape
    require_dosages(symbols, probes=probes)
    width = require_dosages(candidates=candidates)
    require(
        probes.shape[1] == width == variants, "the channel's variants", channel=variants, got=(probes.shape[1], width)
    )
    total = np.zeros((len(probes), len(candidates)))
    silent = np.zeros((variants, GENOTYPES, 1), np.float32)
    ratios = np.concatenate([fitted.ratios, silent], axis=2).transpose(0, 2, 1)  # (variants, symbols + 1, 3)
    for part in chunks(len(probes) + len(candidates), variants):
        shown = np.where(probes[:, part] < 0, symbols, probes[:, part])
        said = ratios[part][np.arange(shown.shape[1]), shown]  # (probes, chunk, 3)
        total += said.reshape(len(probes), -1) @ one_hot(candidates[:, part]).reshape(len(candidates), -1).T
    return total


def _counts(probes: Array, owners: Array, variants: int, symbols: int) -> Array:
    """Return how often each symbol was shown for each dosage, float64 (variants, 3, symbols)."""
    require_dosages(symbols, probes=probes)
    require_dosages(owners=owners)
    require(probes.shape == owners.shape, "as many probes as owners", probes=probes.shape, owners=owners.shape)
    require(probes.shape[1] == variants, "pairs of the base's variants", pairs=probes.shape[1], base=variants)
    every = [((owners == g) & (probes == s)).sum(0) for g in range(GENOTYPES) for s in range(symbols)]
    return np.stack(every, axis=1).reshape(variants, GENOTYPES, symbols).astype(np.float64)


def _genotypes(base: Array) -> Array:
    """Return how common each dosage is, float64 (variants, 3)."""
    alt = frequencies(base)
    expected = np.stack([(1 - alt) ** 2, 2 * alt * (1 - alt), alt**2], axis=1)
    seen = np.stack([(base == g).sum(0) for g in range(GENOTYPES)], axis=1)
    common: Array = (seen + expected) / (seen.sum(1, keepdims=True) + 1)
    return common
