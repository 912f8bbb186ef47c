"""All linkage attacks on one release, made anew on the released thing itself: whose record is it, and how surely?

Attackers know the mask. Each is fitted to other people whose records are masked as the release is, so that none has
seen the masker move, nor anybody whom it is judged on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fedgenome.audit.linkage import attackers, leakage, measures
from fedgenome.audit.linkage.attackers import MATCHER, Attack, Others
from fedgenome.audit.linkage.results import Linkage
from fedgenome.audit.results import LEVEL, Check
from fedgenome.errors import require
from fedgenome.query import Array

RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500)
_FOUND, _STRICT = 0.5, 0.999  # least RR of people who are not masked; level of the control that is at chance


def linked(
    released: Array,
    candidates: Array,
    owner: Array,
    others: Others,
    rng: np.random.Generator,
    *,
    whole: tuple[Array, Array] | None = None,
    strata: Array | None = None,
    steps: int | None = None,
    level: float = LEVEL,
) -> Linkage:
    """Attack released records by every attacker of the library.

    Networks are trained where no closed form finds nearly all of the *other* people: which attackers there are is
    settled before anybody who is judged is looked at, as bounds over several demand.

    Args:
        released: One record a person (probes, variants): dosages with ``MASK``, or numbers, NaN where withheld.
        candidates: Panel records (candidates, variants).
        owner: int (probes,): which candidate is the probe's own person; −1 for a decoy.
        others: Whom attackers are fitted to.
        rng: Splits ties, draws pairs, weights and the bootstrap.
        whole: The same records unmasked, of the probes and of the others' pairs: the positive control.
        strata: Of each probe, as its ancestry (probes,).
        steps: Of each network; None: as many as is usual.
        level: Confidence of bounds.

    Raises:
        SpecError: arrays do not fit each other, or nothing is told.
    """
    judged = np.flatnonzero(owner >= 0)
    require(len(judged) >= 2, "two people to judge who are in the panel", judged=len(judged))
    told = _told(released) | _told(others.pairs[0])
    require(bool(told.any()), "a release that tells something of somebody")
    attacks, left_out = _attacks(released, others, told, steps, rng)
    scores = {name: attack(released, candidates) for name, attack in attacks.items()}
    worst = measures.worst_found(scores, owner, rng, level=level)
    best, attack = scores[worst.vector], attacks[worst.vector]
    curve = measures.match_curve(best, owner)
    rare = min((owner < 0).sum(), len(candidates) - len(judged)) < 2
    by = measures.found_within(best, owner, strata, rng, level=level) if strata is not None else {}
    return Linkage(
        worst=worst,
        judged=len(judged),
        decoys=len(owner) - len(judged),
        candidates=len(candidates),
        fitted=len(others.owner),
        others=len(others.base),
        told=int(told.sum()),
        variants=len(told),
        curve={rank: float(curve[rank - 1]) for rank in RANKS if rank <= len(curve)},
        open_set=measures.open_set(best, owner, rng, level=level),
        sigmas=leakage.sigmas(best, owner, rng, level=level),
        bits=leakage.bits(best, owner, _temperature(attack, others)),
        epsilon=None if rare else leakage.epsilon(best, owner, rng, level),
        strata=by,
        checks=_checks(best, candidates, owner, others, whole, worst.vector, rng),
        left_out=left_out,
    )


def _attacks(
    released: Array, others: Others, told: Array, steps: int | None, rng: np.random.Generator
) -> tuple[dict[str, Attack], dict[str, str]]:
    """Return the attackers, and why others are left out."""
    hidden = attackers.hidden(np.concatenate([released, others.pairs[0]]), others)
    attacks = attackers.closed_forms(others, told, bool((hidden != hidden[0]).any()), rng)
    if not np.issubdtype(released.dtype, np.integer):
        return attacks, dict.fromkeys(attackers.NETWORKS, "it reads dosages, and these are numbers")
    scores = {name: attack(others.pairs[0], others.panel) for name, attack in attacks.items()}
    rates = {name: measures.found(each, others.owner, rng).estimate for name, each in scores.items()}
    best = max(rates, key=lambda name: rates[name])
    if rates[best] >= attackers.ENOUGH:
        why = f"{best} finds {rates[best]:.0%} of the people whom attackers were fitted to"
        return attacks, dict.fromkeys(attackers.NETWORKS, why)
    return attacks | attackers.networks(others, told, steps, rng), {}


def _told(released: Array) -> Array:
    """Return which variants are told of anybody, bool (variants,)."""
    shown = released >= 0 if np.issubdtype(released.dtype, np.integer) else ~np.isnan(released)
    return np.asarray(shown.any(0))


def _temperature(attack: Attack, others: Others) -> float:
    """Return what makes an attacker's scores into log-likelihood ratios, by other people."""
    return leakage.temperature(attack(others.pairs[0], others.panel), others.owner)


def _checks(
    best: Array,
    candidates: Array,
    owner: Array,
    others: Others,
    whole: tuple[Array, Array] | None,
    worst: str,
    rng: np.random.Generator,
) -> tuple[Check, ...]:
    """Return the controls: unmasked people are found, and people who are somebody else are not."""
    negative = at_chance(best, owner, worst, rng)
    if whole is None:
        return (negative,)
    unmasked = replace(others, pairs=(whole[1], others.pairs[1]), contig=None, position=None)
    attack = attackers.matching(unmasked)
    found = measures.found(attack(whole[0], candidates), owner, rng)
    rule = f"interval above {_FOUND:g} on the same people unmasked: they are in the panel under the ids they have here"
    passed = found.low > _FOUND
    return (Check(kind="positive", attack=MATCHER, seen=found, passed=passed, rule=rule, measure="RR"), negative)


def at_chance(scores: Array, owner: Array, attack: str, rng: np.random.Generator) -> Check:
    """Return the control that people who are somebody else are not found."""
    linked, candidates = np.flatnonzero(owner >= 0), scores.shape[1]
    stranger = (owner[linked] + rng.integers(1, candidates, len(linked))) % candidates
    wrong = measures.found(scores[linked], stranger, rng, level=_STRICT)
    chance = 1 / candidates
    rule = f"{_STRICT:.1%} interval holds chance, {chance:.2g}, where each owner is somebody else by chance"
    passed = wrong.low <= chance
    return Check(kind="negative", attack=attack, seen=wrong, passed=passed, rule=rule, measure="RR")
