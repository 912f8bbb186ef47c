"""Linkage disequilibrium gives masked variants back: guess them from their neighbours first, then match.

What is guessed is no second witness where both records show the same variants. It is the attack on a release of *other*
variants than the panel holds: the two lists may share none.

Source: Edge, Algee-Hewitt, Pemberton, Li & Rosenberg 2017, "Linkage disequilibrium matches forensic genetic records to
disjoint genomic marker sets"; ridge regression in place of their imputation by haplotypes, for dosages have no phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedgenome.audit.linkage.dosages import MISSING, frequencies, require_dosages
from fedgenome.errors import require
from fedgenome.query import Array

NEAREST, RIDGE = 16, 4.0  # told variants that a guess rests on; people's worth of doubt in each weight


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guesses:
    """How variants that are not told are guessed from those that are.

    Attributes:
        told: bool (variants,).
        hidden: Which are guessed, int (hidden,): not told, on a contig with told ones.
        means: Expected dosages, float64 (variants,).
        near: From which told variants, int (hidden, k); repeated where a contig has fewer, with weight 0.
        weights: float64 (hidden, k), of dosages less their means.
    """

    told: Array
    hidden: Array
    means: Array
    near: Array
    weights: Array


def fit(
    base: Array, told: Array, contig: Array, position: Array, *, nearest: int = NEAREST, ridge: float = RIDGE
) -> Guesses:
    """Fit a ridge regression of every variant that is not told on the told ones nearest to it.

    Args:
        base: Dosages of other people (people, variants).
        told: bool (variants,): the release's public list.
        contig: Of each variant, any labels (variants,).
        position: In base pairs, int (variants,).
        nearest: How many of the told ones on the same contig.
        ridge: Penalty, in people.
    """
    variants = require_dosages(base=base)
    fits = all(each.shape == (variants,) for each in (told, contig, position))
    require(fits, "told, contig and position of every variant", variants=variants)
    require(nearest >= 1 and ridge > 0, "nearest >= 1 and ridge > 0", nearest=nearest, ridge=ridge)
    means = 2 * frequencies(base)
    centred = np.where(base >= 0, base - means, 0.0)
    hidden, near, weights = [], [], []
    for name in np.unique(contig[told]):
        shown, dark = (np.flatnonzero((contig == name) & side) for side in (told, ~told))
        for variant in dark:
            chosen = shown[np.argsort(abs(position[shown] - position[variant]), kind="stable")[:nearest]]
            x = centred[:, chosen]
            found = np.linalg.solve(x.T @ x + ridge * np.eye(len(chosen)), x.T @ centred[:, variant])
            spare = nearest - len(chosen)
            hidden.append(variant)
            near.append(np.pad(chosen, (0, spare), mode="edge"))
            weights.append(np.pad(found, (0, spare)))
    return Guesses(
        told=told,
        hidden=np.array(hidden, dtype=np.int64),
        means=means,
        near=np.array(near, dtype=np.int64).reshape(-1, nearest),
        weights=np.array(weights).reshape(-1, nearest),
    )


def impute(fitted: Guesses, probes: Array) -> Array:
    """Return ``probes`` with every hidden variant guessed, int8 (probes, variants).

    A guess is the dosage nearest to what is expected. Told entries stay, missing ones among them; a variant that cannot
    be guessed is missing. A channel for the result is fitted to pairs that were imputed alike, and so knows how much
    each guess is worth.
    """
    width = require_dosages(probes=probes)
    require(width == len(fitted.told), "the variants that guesses were fitted to", fitted=len(fitted.told), got=width)
    centred = np.where(probes >= 0, probes - fitted.means, 0.0)
    result = np.where(fitted.told, probes, MISSING).astype(np.int8)
    for variant, near, weights in zip(fitted.hidden, fitted.near, fitted.weights, strict=True):
        expected = fitted.means[variant] + centred[:, near] @ weights
        result[:, variant] = np.clip(np.rint(expected), 0, 2)
    return result
