"""Attackers from scratch against one release: how many of the judged each finds at rank 1.

All know the mask. Those in closed form look at every release; those that learn at releases in which these find fewer
than half, for where they find more the answer is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.afml.panels import Panels, Sides
from fedgenome.audit.bounds.effects import effect, tails_for
from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.bounds.simultaneous import Worst, worst
from fedgenome.audit.linkage import leakage, learned, matcher, measures, neighbours
from fedgenome.audit.results import LEVEL
from fedgenome.query import Array

WEAK = 0.5  # share found by those in closed form, under which others look
CLOSED = ("likelihood", "nearest", "identity by state", "regression")
LEARNED: Mapping[str, learned.Kind] = {"siamese": "convolutions", "LSTM": "lstm"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attacked:
    """One release, and what its attackers hold; columns are what is told.

    Attributes:
        probes: What is released of the judged, int8 (judged, told).
        candidates: The panel, int8 (candidates, told).
        owner: int64 (judged,), or −1.
        base: Panel records of others, int8 (base, told).
        shown: What is released of people whom attackers know, int8 (fitted, told).
        known: Which of ``base`` they are, int64 (fitted,).
    """

    probes: Array
    candidates: Array
    owner: Array
    base: Array
    shown: Array
    known: Array

    @property
    def pairs(self) -> tuple[Array, Array]:
        """Releases and panel records of the same people."""
        return self.shown, self.base[self.known]


def attacked(panels: Panels, sides: Sides, released: Array, told: Array) -> Attacked:
    """Return what is attacked where ``released`` (people, variants) leaves of the array panel, columns ``told``."""
    place = np.full(len(panels.sequence), -1)
    place[sides.base] = np.arange(len(sides.base))
    return Attacked(
        probes=released[np.ix_(sides.judged, told)],
        candidates=panels.sequence[np.ix_(sides.candidates, told)],
        owner=sides.owner,
        base=panels.sequence[np.ix_(sides.base, told)],
        shown=released[np.ix_(sides.fitted, told)],
        known=place[panels.whose[sides.fitted]],
    )


Scorer = Callable[[Attacked, np.random.Generator], Array]


def _likelihood(at: Attacked, _: np.random.Generator) -> Array:
    return matcher.log_ratios(matcher.channel(at.base, at.pairs), at.probes, at.candidates)


def _regression(at: Attacked, rng: np.random.Generator) -> Array:
    fitted = neighbours.regression(at.shown, at.base, at.known, rng)
    return neighbours.regressed(fitted, at.probes, at.candidates)


def _learnt(kind: learned.Kind) -> Scorer:
    def scores(at: Attacked, rng: np.random.Generator) -> Array:
        return learned.identified(learned.train(kind, at.base, at.pairs, rng), at.probes, at.candidates)

    return scores


_CLOSED: tuple[Scorer, ...] = (
    _likelihood,
    lambda at, _: neighbours.agreement(at.probes, at.candidates),
    lambda at, _: neighbours.identity_by_state(at.probes, at.candidates),
    _regression,
)


def hits(at: Attacked, rng: np.random.Generator, learning: bool) -> dict[str, int]:
    """Return how many of the linked each attacker finds, by name.

    Args:
        at: The release.
        rng: Splits ties, draws networks.
        learning: Whether attackers that learn look too, where those in closed form find less than ``WEAK``.
    """
    found = {name: hit(score(at, rng), at.owner, rng) for name, score in zip(CLOSED, _CLOSED, strict=True)}
    if learning and max(found.values()) < WEAK * int((at.owner >= 0).sum()):
        found |= {name: hit(_learnt(kind)(at, rng), at.owner, rng) for name, kind in LEARNED.items()}
    return found


def hit(scores: Array, owner: Array, rng: np.random.Generator) -> int:
    """Return how many linked probes have their own person at rank 1."""
    return int((measures.ranks(scores, owner, rng) == 1).sum())


def bits(at: Attacked) -> float:
    """Return the bits that the likelihood matcher proves leaked, at the temperature that suits the known."""
    fitted = matcher.channel(at.base, at.pairs)
    heat = leakage.temperature(matcher.log_ratios(fitted, at.shown, at.base), at.known)
    return leakage.bits(matcher.log_ratios(fitted, at.probes, at.candidates), at.owner, heat).proven


def pooled(found: Mapping[str, tuple[int, int]], candidates: int, level: float = LEVEL) -> Worst:
    """Return the worst attacker's rate over seeds that judge different people, with bounds over them all.

    Args:
        found: Of each attacker, how many it found of how many it looked for.
        candidates: The fewest that a probe was matched with.
        level: One-sided, of either bound.
    """
    tails = tails_for(len(found), level)
    effects = []
    for name, (right, n) in found.items():
        low, high = (binomial_bounds(right, n, tail)[side] for side, tail in enumerate((tails.low, tails.high)))
        effects.append(effect(name, right / n, low, high, _by_chance(right, n, candidates), tails))
    return worst(effects, level)


def _by_chance(right: int, n: int, candidates: int) -> float:
    return float(stats.binom.sf(right - 1, n, 1 / candidates))


__all__ = ["CLOSED", "LEARNED", "Attacked", "attacked", "bits", "hit", "hits", "pooled"]
