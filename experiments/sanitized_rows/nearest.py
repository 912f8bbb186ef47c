"""Attacks on sanitized rows themselves: whose row is it (linkage), and who is in the table (membership).

The attacker holds originals and knows the sanitizer. Where he compares whole rows, what truncation left out of a
sanitized row stands in an original's distance; where he shortens originals to the same K coefficients (*kept*), it does
not. The likeliest original is the nearest by the noise's own norm: Euclidean of metric noise, which is *kept*, and L1
of Laplace's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special
from scipy.spatial.distance import cdist

from fedgenome.audit.bounds import ranking
from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.linkage import measures
from fedgenome.audit.results import LEVEL

Array = npt.NDArray[np.floating]
Told = list[float]  # an estimate and its interval

_MOST = 2e9  # differences of numbers that L1 distances of all pairs may take


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """Of each sanitized row (down) to each original (across), in units of the scale, float32 (rows, rows).

    Attributes:
        whole: Between whole rows.
        kept: Between kept coefficients.
        own: By the noise's own norm, times its rate: a log-likelihood up to sign and a constant; None where nothing is
            drawn, or where L1 distances would take too long.
    """

    whole: Array
    kept: Array
    own: Array | None


def distances(moved: Array, originals: Array, rest: Array, kind: str, rate: float | None) -> Distances:
    """Return all distances.

    Args:
        moved: Kept coefficients with noise, (rows, K).
        originals: Kept coefficients without, (rows, K).
        rest: Squared length of what truncation leaves out of each original, (rows,).
        kind: metric or laplace.
        rate: Of the noise: exp(−rate · norm); None: there is none.
    """
    middle = originals.mean(0)
    a, b = (moved - middle).astype(np.float32), (originals - middle).astype(np.float32)
    squares = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T), 0)
    kept, own = np.sqrt(squares), None
    if rate is not None and kind == "metric":
        own = rate * kept
    elif rate is not None and kept.size * moved.shape[1] <= _MOST:
        own = (rate * cdist(moved, originals, "cityblock")).astype(np.float32)
    return Distances(whole=np.sqrt(squares + rest.astype(np.float32)), kept=kept, own=own)


def ranks(found: Array, rng: np.random.Generator) -> Array:
    """Return the place of each row's own original, from 1 on; ties are split at random."""
    return measures.ranks(-found, np.arange(len(found)), rng)


def share(hits: float, people: int) -> Told:
    """Return a share with Clopper–Pearson bounds over people, ``hits`` a mean over tables of the same people."""
    tail = (1 - LEVEL) / 2
    low, high = binomial_bounds(int(hits), people, tail)[0], binomial_bounds(int(np.ceil(hits)), people, tail)[1]
    return [hits / people, low, high]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Whose rows the table has (half of the people), who is looked for in vain, and who is a reference to the attacker.

    Attributes:
        members: Indices of rows; ``controls`` and ``references``, a quarter each, with it.
    """

    members: npt.NDArray[np.int64]
    controls: npt.NDArray[np.int64]
    references: npt.NDArray[np.int64]

    @classmethod
    def drawn(cls, people: int, rng: np.random.Generator) -> Split:
        """Return a split by chance."""
        order = rng.permutation(people)
        members, controls, references = np.split(order, [people // 2, people * 3 // 4])
        return cls(members=members, controls=controls, references=references)


def nearest_auc(found: Array, split: Split) -> Told:
    """Return the AUC, with its interval, of how near the nearest row of the table lies."""
    table = -found[split.members].min(0)
    return _auc(table, split)


def ratio_auc(own: Array, split: Split) -> Told:
    """Return the AUC of the likelihood ratio: somebody's row is in the table, against a row of anybody's in its place.

    Of each row of the table it asks how much likelier it is as this person's than as one of the references', and takes
    the mean.
    """
    likelihood = -own[split.members].astype(np.float64)
    anybody = special.logsumexp(likelihood[:, split.references], axis=1, keepdims=True)
    return _auc(special.logsumexp(likelihood - anybody, axis=0), split)


def _auc(scores: Array, split: Split) -> Told:
    found = ranking.auc_interval(scores[split.members], scores[split.controls])
    return [found.estimate, found.low, found.high]
