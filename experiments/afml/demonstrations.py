"""Two ways to see nothing where everybody is found: a soft mask taken for a mask, and an attacker that stood still.

A soft mask multiplies a dosage by M > 0, which leaves a zero where it was 0 and nowhere else. An identifier that was
trained while the mask was another one is judged beside one that is trained from nothing on what is released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from experiments.afml import attacks
from experiments.afml.attacks import Attacked
from experiments.afml.worlds import Point, World, useful
from fedgenome.audit.linkage import learned, matcher, neighbours
from fedgenome.audit.linkage.dosages import MASK
from fedgenome.query import Array

Points = Iterator[tuple[str, Point]]

KEEP = 0.048  # mean of M
SOFT, STOOD = "soft mask", "attackers of a mask of 50 variants"
FROZEN, FRESH = "fixed before the mask", "trained on what is released"
_SEEN, _KEPT = 1000, 50  # variants that the first identifier learned from, and those of them that are released


def soft(at: World) -> Points:
    """Yield what two matchers find in x · M: one that reads it as dosages, one that looks at zeros alone."""
    rng = at.rng("soft mask")
    weight = rng.uniform(0, 2 * KEEP, at.panels.array.shape[1]) + 1e-6
    every = np.arange(len(weight))
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


def _identifier(at: Attacked, rng: np.random.Generator) -> learned.Identifier:
    return learned.train("convolutions", at.others.panel, at.others.pairs, rng)


def _columns(at: World, told: Array) -> Array:
    return np.isin(np.arange(at.panels.array.shape[1]), told)


def _hits(at: World, name: str, scores: Array) -> dict[str, int]:
    return {name: attacks.hit(scores, at.sides.owner, at.rng("attack", "demonstration", name))}


DEMONSTRATIONS: Mapping[str, Callable[[World], Points]] = {SOFT: soft, STOOD: stood}
