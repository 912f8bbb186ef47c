"""Attackers from scratch against one release: how many of the judged each finds at rank 1.

They are the library's (:mod:`fedgenome.audit.linkage.attackers`); all know the mask. Networks look where those in
closed form find fewer than half of the people whom they were fitted to: where they find more the answer is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.afml.panels import Panels, Sides
from fedgenome.audit.bounds.effects import effect, tails_for
from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.bounds.simultaneous import Worst, worst
from fedgenome.audit.linkage import attackers, leakage, learned, matcher, measures
from fedgenome.audit.linkage.attackers import Others
from fedgenome.audit.results import LEVEL
from fedgenome.query import Array

_DRAWS = 2  # of a bootstrap that nobody asks for
WEAK = 0.5  # share of other people found by those in closed form, under which networks look


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attacked:
    """One release, and what its attackers hold.

    Attributes:
        probes: What is released of the judged, int8 or float32 (judged, variants).
        candidates: The panel, int8 (candidates, variants).
        owner: int64 (judged,), or −1.
        others: Whom attackers are fitted to.
    """

    probes: Array
    candidates: Array
    owner: Array
    others: Others

    @property
    def linked(self) -> int:
        """How many of the judged are in the panel."""
        return int((self.owner >= 0).sum())


def attacked(panels: Panels, sides: Sides, released: Array, columns: Array) -> Attacked:
    """Return what is attacked where ``released`` (people, variants) leaves of the array panel, ``columns`` of it."""
    known = panels.whose[sides.fitted]
    strangers = np.setdiff1d(sides.base, known)
    pairs = released[np.ix_(sides.fitted, columns)], panels.sequence[np.ix_(known, columns)]
    return Attacked(
        probes=released[np.ix_(sides.judged, columns)],
        candidates=panels.sequence[np.ix_(sides.candidates, columns)],
        owner=sides.owner,
        others=Others(base=panels.sequence[np.ix_(strangers, columns)], pairs=pairs),
    )


def hits(at: Attacked, rng: np.random.Generator, learning: bool, by_person: bool = False) -> dict[str, int]:
    """Return how many of the linked each attacker finds, by name.

    Args:
        at: The release.
        rng: Splits ties, draws networks.
        learning: Whether networks look, where they are worth it.
        by_person: Masks differ between people.
    """
    told = np.ones(at.candidates.shape[1], np.bool_)
    attacks = attackers.closed_forms(at.others, told, by_person, rng)
    others = {name: attack(at.others.pairs[0], at.others.panel) for name, attack in attacks.items()}
    best = max(hit(scores, at.others.owner, rng) for scores in others.values())
    if learning and best < WEAK * len(at.others.owner):
        attacks |= attackers.networks(at.others, told, learned.STEPS, rng)
    return {name: hit(attack(at.probes, at.candidates), at.owner, rng) for name, attack in attacks.items()}


def hit(scores: Array, owner: Array, rng: np.random.Generator) -> int:
    """Return how many linked probes have their own person at rank 1."""
    return int((measures.ranks(scores, owner, rng) == 1).sum())


def leaked(at: Attacked, rng: np.random.Generator) -> dict[str, float]:
    """Return what the likelihood matcher's scores give away, in bits proven and in sigmas.

    It is never surer than it is of people whom it was not fitted to, nor than it says.
    """
    others, half = at.others, len(at.others.owner) // 2
    shown, owners = others.pairs
    fitted = matcher.channel(others.base, (shown[:half], owners[:half]))
    heat = leakage.temperature(matcher.log_ratios(fitted, shown[half:], others.panel), others.owner[half:])
    scores = matcher.log_ratios(fitted, at.probes, at.candidates)
    bits = leakage.bits(scores, at.owner, max(1.0, heat)).proven
    sigmas = leakage.sigmas(scores, at.owner, rng, draws=_DRAWS).estimate
    return {"bits": round(bits, 4), "sigmas": round(sigmas, 4)}


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
        low, high = binomial_bounds(right, n, tails.low)[0], binomial_bounds(right, n, tails.high)[1]
        by_chance = float(stats.binom.sf(right - 1, n, 1 / candidates))
        effects.append(effect(name, right / n, low, high, by_chance, tails))
    return worst(effects, level)
