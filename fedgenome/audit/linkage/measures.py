"""How many are found: re-identification rate, rank curve, open-set identification, by ancestry and over attackers.

An attacker's word is a matrix (probes, candidates), larger for those it takes for one person. ``owner`` (probes,) says
which candidate is the probe's own person, −1 for a *decoy*, who is not among them. One probe a donor, so that intervals
are over donors. Attackers are fitted to other people, and fixed as ranks and rates are before any is seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from fedgenome.audit.bounds.effects import Tails, effect, tails_for
from fedgenome.audit.bounds.rates import binomial_bounds, hit_rate
from fedgenome.audit.bounds.simultaneous import Worst, worst
from fedgenome.audit.results import LEVEL, Interval
from fedgenome.errors import require
from fedgenome.query import Array

RATE = 0.01  # of decoys identified as somebody, at which open-set identification is told


def require_scores(scores: Array, owner: Array) -> Array:
    """Return which probes have an owner among the candidates, int (linked,).

    Raises:
        SpecError: no candidates, a NaN, owners who are no candidates.
    """
    require(scores.ndim == 2 and scores.shape[1] >= 1, "scores of (probes, candidates)", shape=scores.shape)
    require(not np.isnan(scores).any(), "scores that are numbers")
    fits = owner.shape == (len(scores),) and bool((owner < scores.shape[1]).all())
    require(fits, "one owner a probe: a candidate, or −1", probes=len(scores), shape=owner.shape)
    return np.flatnonzero(owner >= 0)


def places(scores: Array, owner: Array) -> tuple[Array, Array]:
    """Return how many candidates score above a probe's own person, and how many as high (itself too), (linked,)."""
    linked = require_scores(scores, owner)
    own = scores[linked, owner[linked]][:, None]
    return (scores[linked] > own).sum(1), (scores[linked] == own).sum(1)


def ranks(scores: Array, owner: Array, rng: np.random.Generator) -> Array:
    """Return the rank of each linked probe's own person, int (linked,) from 1 on; ties are split at random."""
    above, tied = places(scores, owner)
    return np.asarray(1 + above + rng.integers(0, tied))


def match_curve(scores: Array, owner: Array) -> Array:
    """Return the rates of ranks up to 1, 2, …, float64 (candidates,), ties split exactly: by expectation."""
    above, tied = places(scores, owner)
    require(len(above) >= 1, "a probe with an owner")
    k = np.arange(1, scores.shape[1] + 1)
    # A rank is above + 1 … above + tied alike.
    return np.asarray(np.mean([np.clip((k - a) / t, 0, 1) for a, t in zip(above, tied, strict=True)], axis=0))


def found(scores: Array, owner: Array, rng: np.random.Generator, rank: int = 1, level: float = LEVEL) -> Interval:
    """Return the re-identification rate: the share of linked probes whose own person is at ``rank`` or before.

    Clopper–Pearson over donors; chance is ``rank``/candidates.
    """
    return _rate(ranks(scores, owner, rng) <= rank, level)


def found_within(
    scores: Array, owner: Array, strata: Array, rng: np.random.Generator, rank: int = 1, level: float = LEVEL
) -> dict[str, Interval]:
    """Return the rate within each stratum, against all candidates; intervals hold together (Bonferroni).

    Args:
        scores: (probes, candidates).
        owner: (probes,).
        strata: (probes,), as of ancestry.
        rng: Splits ties.
        rank: At which a person is found.
        level: Confidence of all of them together.
    """
    linked = require_scores(scores, owner)
    require(len(strata) == len(scores), "one stratum a probe", probes=len(scores), strata=len(strata))
    at, of = ranks(scores, owner, rng) <= rank, strata[linked]
    values = np.unique(of)
    return {str(value): _rate(at[of == value], 1 - (1 - level) / len(values)) for value in values}


def open_set(
    scores: Array, owner: Array, rng: np.random.Generator, rate: float = RATE, level: float = LEVEL
) -> Interval | None:
    """Return the share of linked probes whose own person comes first *and* above the threshold (TPIR).

    Of the decoys a share ``rate`` has anybody above it (FPIR). None if decoys are too few to say (3/n above ``rate``).
    """
    linked = require_scores(scores, owner)
    first = ranks(scores, owner, rng) == 1
    own = np.where(first, scores[linked, owner[linked]], -np.inf)
    return hit_rate(own, scores[owner < 0].max(axis=1), rate, level)


def worst_found(
    attackers: Mapping[str, Array], owner: Array, rng: np.random.Generator, rank: int = 1, level: float = LEVEL
) -> Worst:
    """Return the re-identification rate of the worst attacker, with bounds that pay for having had several.

    Effects are rates themselves: 0 finds nobody, 1 everybody. p is of "at chance", ``rank``/candidates.

    Args:
        attackers: Name → scores (probes, candidates), all against the same probes and candidates.
        owner: (probes,).
        rng: Splits ties.
        rank: At which a person is found.
        level: One-sided confidence of either bound.
    """
    shapes = {name: scores.shape for name, scores in attackers.items()}
    require(len(set(shapes.values())) == 1, "attackers of the same probes and candidates", **shapes)
    tails = tails_for(len(attackers), level)
    effects, ties = [], int(rng.integers(2**63))
    for name, scores in attackers.items():
        # Alike for all: attackers who say the same find the same, and luck with ties is not multiplied by their number.
        at = ranks(scores, owner, np.random.default_rng(ties)) <= rank
        chance = min(1.0, rank / scores.shape[1])
        p_value = float(stats.binom.sf(at.sum() - 1, len(at), chance))
        effects.append(effect(name, float(at.mean()), *_ends(at, tails), p_value, tails))
    return worst(effects, level)


def _ends(at: Sequence[bool] | Array, tails: Tails) -> tuple[float, float]:
    right, n = int(np.sum(at)), len(at)
    return binomial_bounds(right, n, tails.low)[0], binomial_bounds(right, n, tails.high)[1]


def _rate(at: Array, level: float) -> Interval:
    require(len(at) >= 1, "a probe with an owner")
    low, high = binomial_bounds(int(at.sum()), len(at), (1 - level) / 2)
    return Interval(estimate=float(at.mean()), low=low, high=high, level=level, method="Clopper–Pearson over donors")
