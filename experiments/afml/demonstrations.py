"""Two ways to see nothing where everybody is found: a soft mask taken for a mask, and an attacker that stood still.

A soft mask multiplies a dosage by M > 0, which leaves a zero where it was 0 and nowhere else. An identifier that was
trained while the mask was another one is judged beside one that is trained from nothing on what is released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from experiments.afml import attacks, lists
from experiments.afml.attacks import Attacked
from experiments.afml.worlds import Point, World, useful
from fedgenome.audit.linkage import learned, matcher, neighbours
from fedgenome.audit.linkage.dosages import MASK
from fedgenome.audit.linkage.remasking import Looks, by_likelihood, remask
from fedgenome.query import Array

Points = Iterator[tuple[str, Point]]

KEEP = 0.048  # mean of M
SOFT, STOOD = "soft mask", "attackers of a mask of 50 variants"
FROZEN, FRESH = "fixed before the mask", "trained on what is released"
LIMIT, BOTH = 0.05, "both lists, of people released twice"
_OLD, _AMONG = 7, 50  # variants of the old list, and those that any list is of
_SEEN, _KEPT = 1000, 50  # variants that the first identifier learned from, and those of them that are released


def soft(at: World) -> Points:
    """Yield what two matchers find in x · M: one that reads it as dosages, one that looks at zeros alone."""
    rng = at.rng("soft mask")
    every = np.arange(at.panels.array.shape[1])
    weight = rng.uniform(1e-6, 2 * KEEP, len(every))
    held = attacks.attacked(at.panels, at.sides, at.panels.array, every)
    hard = matcher.channel(held.others.panel, held.others.pairs)
    read = np.rint(np.maximum(held.probes, 0) * weight).astype(np.int8)
    softly, shown = (np.maximum(each, 0) * weight for each in (held.probes, held.others.pairs[0]))
    zeros = neighbours.by_mask(softly, held.candidates, held.others.panel, (shown, held.others.pairs[1]))
    worth = useful(at, np.maximum(at.panels.array, 0) * weight)
    yield FROZEN, {"hits": _hits(at, "dosages", matcher.log_ratios(hard, read, held.candidates))} | worth
    yield FRESH, {"hits": _hits(at, "zeros", zeros)} | worth


def stood(at: World) -> Points:
    """Yield what a siamese network finds that knew more variants than are released, and what a fresh one does."""
    rng = at.rng("stood still")
    seen = rng.choice(at.panels.array.shape[1], min(_SEEN, at.panels.array.shape[1] // 2), replace=False)
    kept = np.isin(np.arange(len(seen)), rng.choice(len(seen), _KEPT, replace=False))
    before = attacks.attacked(at.panels, at.sides, at.panels.array, seen)
    after = attacks.attacked(at.panels, at.sides, np.where(_columns(at, seen[kept]), at.panels.array, MASK), seen)
    worth = useful(at, at.panels.array[:, seen[kept]])
    for name, fitted in ((FROZEN, before), (FRESH, after)):
        found = learned.identified(_identifier(fitted, rng), after.probes, after.candidates)
        yield name, {"hits": _hits(at, "siamese convolutions", found)} | worth


def anew(at: World) -> Points:
    """Yield what an attacker who is found later finds: under the old list, under the one made anew, under both.

    The old list heeded no attacker; the new one is the longest of other variants under which the likelihood matcher
    finds ``LIMIT`` of the people whom attackers are fitted to. Who is released under both is found by both.
    """
    order = lists.associated(at.people, at.rng("list", "association"))[:_AMONG]
    known, linked = at.panels.whose[at.sides.fitted], at.sides.chosen[at.panels.whose[at.sides.chosen] >= 0]
    array, sequence = at.panels.array[:, order], at.panels.sequence[:, order]
    tuning = Looks(
        probes=array[at.sides.fitted],
        candidates=sequence[at.sides.base],
        owner=np.searchsorted(at.sides.base, known),
        base=sequence[at.panels.whose[linked]],
        pairs=(array[linked], sequence[at.panels.whose[linked]]),
    )
    judged = Looks(
        probes=array[at.sides.judged],
        candidates=sequence[at.sides.candidates],
        owner=at.sides.owner,
        base=sequence[at.sides.base],
        pairs=(array[at.sides.fitted], sequence[known]),
    )
    place = np.arange(len(order))
    old = place < _OLD
    found = remask(
        old,
        -place.astype(float),
        by_likelihood,
        limit=LIMIT,
        tuning=tuning,
        judged=judged,
        rng=at.rng("anew"),
        fresh=True,
    )
    people = int((at.sides.owner >= 0).sum())
    for name, told, rate in (
        ("old list", old, found.old),
        ("new list", found.told, found.new),
        (BOTH, old | found.told, found.both),
    ):
        hits = {"likelihood matcher": round(rate.estimate * people)}
        worth = useful(at, array[:, told]) if told.any() else {"AUC": 0.5, "ancestry": 0.0}
        yield name, {"hits": hits, "kept": int(told.sum())} | worth


def _identifier(at: Attacked, rng: np.random.Generator) -> learned.Identifier:
    return learned.train("convolutions", at.others.panel, at.others.pairs, rng)


def _columns(at: World, told: Array) -> Array:
    return np.isin(np.arange(at.panels.array.shape[1]), told)


def _hits(at: World, name: str, scores: Array) -> dict[str, int]:
    return {name: attacks.hit(scores, at.sides.owner, at.rng("attack", "demonstration", name))}


DEMONSTRATIONS: Mapping[str, Callable[[World], Points]] = {SOFT: soft, STOOD: stood}
ANEW = {"list made anew": anew}
