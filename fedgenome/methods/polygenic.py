"""Polygenic scores in few levels: what can be told of a person's phenotype without telling who it is.

A score is a weighted sum of a few variants' dosages. Its weights and variants come from a charged table of frequencies
(:func:`~fedgenome.methods.frequencies.associations`) or are given; its cut points from frequencies alone, noisy or
public: cut at quantiles of the very people, a level would tell of others than its owner. A score in d levels has a cap
on whom any matcher finds; an unrounded one has none, as it is nearly a fingerprint of its variants. Neither is
differential privacy: a level is a fact about a person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from fedgenome.errors import require
from fedgenome.methods.frequencies import Associations
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """A score of some variants.

    Attributes:
        columns: Which variants, int (k,).
        weights: Of a copy of ALT of each, (k,).
        frequencies: Public or noisy frequencies of ALT, (k,): what a missing dosage is taken for, and where levels end.
    """

    columns: Array
    weights: Array
    frequencies: Array

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in ("columns", "weights", "frequencies")}
        same = len(set(shapes.values())) == 1 and len(self.columns.shape) == 1 and len(self.columns) >= 1
        require(same, "a weight and a frequency of each of one variant or more", **shapes)
        require(len(np.unique(self.columns)) == len(self.columns), "every variant once")
        require(bool(np.isfinite(self.weights).all()), "finite weights")
        within = bool(((self.frequencies >= 0) & (self.frequencies <= 1)).all())
        require(within, "frequencies within 0 and 1")


def associated(found: Associations, k: int) -> Score:
    """Return the score of the k variants whose frequencies differ most surely, weighted by their log odds.

    Post-processing of a released table. Weights are those of one variant at a time: of variants in linkage they count
    one effect twice, so lists are better thinned first.

    Args:
        found: Of :func:`~fedgenome.methods.frequencies.associations`.
        k: Variants.
    """
    require(1 <= k <= len(found.chi2), "1 <= k <= variants", k=k, variants=len(found.chi2))
    columns = np.sort(np.argsort(-found.chi2, kind="stable")[:k])
    return Score(columns=columns, weights=found.log_odds[columns], frequencies=found.frequencies.mean(0)[columns])


def values(score: Score, dosages: Array) -> Array:
    """Return each person's score, unrounded, float64 (people,); a missing dosage counts as 2p.

    Args:
        score: Which one.
        dosages: Of all variants, (people, variants); negative or NaN where missing.
    """
    x = dosages[:, score.columns].astype(np.float64)
    told = np.isfinite(x) & (x >= 0)
    return np.asarray(np.where(told, x, 2 * score.frequencies) @ score.weights)


def cuts(score: Score, levels: int) -> Array:
    """Return the ends of ``levels`` levels that about equally many people have, (levels − 1,), rising.

    From public facts: normal quantiles at mean Σ 2wp and variance Σ 2w²p(1 − p), as of variants drawn independently.
    """
    require(levels >= 2, "levels >= 2", levels=levels)
    p, w = score.frequencies, score.weights
    mean, spread = 2 * (w * p).sum(), math.sqrt(float(2 * (w**2 * p * (1 - p)).sum()))
    require(spread > 0, "a variant that varies and has a weight")
    return np.asarray(mean + spread * ndtri(np.arange(1, levels) / levels))


def levels_of(scores: Array, ends: Array) -> Array:
    """Return the level of each score, int64 from 0 to len(ends); a score at an end is in the lower one."""
    require(bool((np.diff(ends) > 0).all()), "ends that rise")
    return np.searchsorted(ends, scores).astype(np.int64)


def cap(levels: Sequence[int], people: int) -> float:
    """Return the largest share of people whom any attacker finds among ``people`` by scores in so many levels each.

    Scores of one person multiply: with d₁·d₂·… different releases an attacker names at most one candidate for each, so
    that of N candidates, all as likely, d₁·d₂·…/N are found at most. It holds for any score, panel and matcher, also if
    the panel holds the scores themselves; it says nothing of an attacker who knows beforehand that some are likelier.

    >>> cap([8], 1000)
    0.008
    >>> cap([8, 8, 8], 1000)  # as three scores of 8 levels are one of 512
    0.512
    """
    require(len(levels) >= 1 and min(levels) >= 1, "a score of one level or more", levels=list(levels))
    require(people >= 1, "people >= 1", people=people)
    return min(1.0, math.prod(levels) / people)


def warning(levels: Sequence[int], people: int, most: float = 0.05) -> str:
    """Return what to hear before scores of the same people are released together; "" if their cap is ``most`` or below.

    Args:
        levels: Of every score that is or was released of these people, by whomever.
        people: Candidates among whom one hides.
        most: Share of people found that is borne.
    """
    together, alone = cap(levels, people), max(cap([each], people) for each in levels)
    if together <= most:
        return ""
    product = " · ".join(str(each) for each in levels)
    told = f"{product} levels among {people:,} people: up to {together:.1%} can be found, above {most:.1%}"
    return f"{told}; scores of the same people multiply, one alone has {alone:.1%}" if len(levels) > 1 else told
