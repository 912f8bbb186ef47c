"""Whose are sanitized rows? Attackers hold the originals, and know the sanitizer: nobody who looks for rows has more.

They compare whole rows; coefficients that were kept, on which truncation has no say; and by the noise's own norm,
whose nearest original is the likeliest: of metric noise that is the Euclidean one.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import euclidean_distances

from fedgenome.audit.linkage import leakage, measures
from fedgenome.audit.linkage.results import Linkage
from fedgenome.audit.linkage.run import RANKS, at_chance
from fedgenome.audit.results import LEVEL, Check
from fedgenome.errors import require
from fedgenome.query import Array
from fedgenome.sanitize.guarantee import Guarantee, coefficients, unit

WHOLE, KEPT, LIKELIEST = "nearest row", "nearest by kept coefficients", "likeliest by Laplace noise"
AMONG = "the originals themselves"
_JUDGED = 1000  # people, drawn by chance where there are more
_MOST = 1 << 36  # differences that L1 distances may take: minutes
_FOUND = 0.5  # least share of people whose coefficients are nobody else's


def linked(
    released: Array,
    originals: Array,
    owner: Array,
    guarantee: Guarantee,
    rng: np.random.Generator,
    level: float = LEVEL,
) -> Linkage:
    """Look for the owner of one released row a person among all originals.

    Args:
        released: Sanitized rows, (rows, genes), in the schema's units and range.
        originals: The same rows before.
        owner: int (rows,): whose each is, from 0 on.
        guarantee: The sanitizer.
        rng: Draws people and splits ties.
        level: Confidence of bounds.

    Raises:
        SpecError: fewer than two people.
    """
    people, first = np.unique(owner, return_index=True)
    require(len(people) >= 2, "rows of two people or more", people=len(people))
    probes = np.sort(rng.permutation(first)[:_JUDGED])
    own = owner[probes]
    kept = coefficients(originals, guarantee)
    scores = {name: _by_person(each, owner) for name, each in _scores(released[probes], originals, kept, guarantee)}
    worst = measures.worst_found(scores, own, rng, level=level)
    best = scores[worst.vector]
    curve = measures.match_curve(best, own)
    unnoised = measures.found(_by_person(-euclidean_distances(kept[probes], kept), owner), own, rng)
    rule = f"interval above {_FOUND:g} without noise: originals differ in what is kept of them"
    positive = Check(kind="positive", attack=KEPT, seen=unnoised, passed=unnoised.low > _FOUND, rule=rule, measure="RR")
    absent = guarantee.spec.kind == "laplace" and _too_many(len(probes), len(kept), guarantee)
    left_out = {LIKELIEST: "too many coefficients of too many rows to compare pair by pair"} if absent else {}
    return Linkage(
        worst=worst,
        judged=len(probes),
        decoys=0,
        candidates=len(people),
        fitted=0,
        others=0,
        told=guarantee.kept,
        variants=guarantee.genes,
        curve={rank: float(curve[rank - 1]) for rank in RANKS if rank <= len(curve)},
        open_set=None,
        sigmas=leakage.sigmas(best, own, rng, level=level),
        bits=leakage.bits(best, own),
        epsilon=None,
        checks=(positive, at_chance(best, own, worst.vector, rng)),
        left_out=left_out,
        among=AMONG,
        panel=f"{AMONG}, of {len(people):,} people",
    )


def _scores(released: Array, originals: Array, kept: Array, guarantee: Guarantee) -> list[tuple[str, Array]]:
    """Return attackers' scores, (released, originals): log-likelihoods where the noise is as they take it to be."""
    rate, moved = guarantee.spec.epsilon or 1.0, coefficients(released, guarantee)
    scores = [
        (WHOLE, -rate * euclidean_distances(unit(released, guarantee), unit(originals, guarantee))),
        (KEPT, -rate * euclidean_distances(moved, kept)),
    ]
    if guarantee.spec.kind == "laplace" and not _too_many(len(released), len(kept), guarantee):
        scores.append((LIKELIEST, -rate / np.sqrt(guarantee.kept) * cdist(moved, kept, "cityblock")))
    return scores


def _too_many(released: int, originals: int, guarantee: Guarantee) -> bool:
    return released * originals * guarantee.kept > _MOST


def _by_person(scores: Array, owner: Array) -> Array:
    """Return each person's best row, (released, people)."""
    order = np.argsort(owner, kind="stable")
    starts = np.flatnonzero(np.diff(owner[order], prepend=-1))
    return np.asarray(np.maximum.reduceat(scores[:, order], starts, axis=1))
