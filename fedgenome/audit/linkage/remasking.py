"""Masking anew when an attacker is found that the list was not made against: a shorter list, or another one.

What was released stays released: the new list protects those who are released under it alone. Whoever was released
under the old one is found by both together, and that is told beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedgenome.audit.linkage.dosages import MASK, require_dosages
from fedgenome.audit.linkage.learned import STEPS, identified, train
from fedgenome.audit.linkage.matcher import channel, log_ratios
from fedgenome.audit.linkage.measures import found
from fedgenome.audit.results import Interval
from fedgenome.errors import require
from fedgenome.models.masking.identifiers import Kind
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """Two looks at people, none of them masked.

    Attributes:
        probes: What a release would mask, dosages (probes, variants).
        candidates: The attacker's panel (candidates, variants).
        owner: (probes,): which candidate is the probe's own person, −1 for decoys.
        base: Panel records of other people.
        pairs: Probes and panel records of still others, row by row: what an attacker learns from.
    """

    probes: Array
    candidates: Array
    owner: Array
    base: Array
    pairs: tuple[Array, Array]

    def under(self, told: Array) -> Looks:
        """Return the same, with all probes masked by a list, bool (variants,)."""
        width = require_dosages(probes=self.probes, pairs=self.pairs[0])
        require(told.dtype == np.bool_ and told.shape == (width,), "a list of bool", shape=told.shape, variants=width)
        probes, others = (np.where(told, each, MASK).astype(np.int8) for each in (self.probes, self.pairs[0]))
        pairs = others, self.pairs[1]
        return Looks(probes=probes, candidates=self.candidates, owner=self.owner, base=self.base, pairs=pairs)


Attacker = Callable[[Looks, np.random.Generator], Array]  # of masked looks, to scores (probes, candidates)


def by_likelihood(looks: Looks, _rng: np.random.Generator) -> Array:
    """Attack by the likelihood matcher, fitted to others under the same list."""
    return log_ratios(channel(looks.base, looks.pairs), looks.probes, looks.candidates)


def by_learning(kind: Kind, steps: int = STEPS) -> Attacker:
    """Return the attack of an identifier that is trained from nothing on others under the same list."""

    def attack(looks: Looks, rng: np.random.Generator) -> Array:
        return identified(train(kind, looks.base, looks.pairs, rng, steps=steps), looks.probes, looks.candidates)

    return attack


def rate(attacker: Attacker, looks: Looks, told: Array, rng: np.random.Generator) -> Interval:
    """Return the re-identification rate under a list; that of guessing where nothing is told."""
    masked = looks.under(told)
    blind = np.zeros((len(looks.probes), len(looks.candidates)))
    return found(attacker(masked, rng) if told.any() else blind, looks.owner, rng)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Remasked:
    """A new list, and what an attacker finds.

    Attributes:
        told: The new list, bool (variants,); all False where no list stays within the limit.
        old: Rate of re-identification under the old list.
        new: Under the new one alone.
        both: Under both together: of people who were released twice.
    """

    told: Array
    old: Interval
    new: Interval
    both: Interval


def remask(
    told: Array,
    score: Array,
    attacker: Attacker,
    *,
    limit: float,
    tuning: Looks,
    judged: Looks,
    rng: np.random.Generator,
    fresh: bool = False,
) -> Remasked:
    """Return the longest list, by score, under which an attacker stays within a limit.

    Its length is chosen on people of its own, by halving, as if more were never safer; rates are of other people.

    Args:
        told: The list that was released, bool (variants,).
        score: Keep logits (variants,): the best of the old list are kept.
        attacker: Registered after the release.
        limit: Largest rate of re-identification, estimated on ``tuning``.
        tuning: People that the length is chosen on.
        judged: Others, that rates are of.
        rng: Splits ties and is passed to the attacker.
        fresh: Take variants that were not released, in place of some that were; no longer than the old list.

    Raises:
        SpecError: shapes do not agree, not 0 < limit < 1.
    """
    require(0 < limit < 1, "0 < limit < 1", limit=limit)
    require(score.shape == told.shape, "one score a variant", scores=score.shape, variants=told.shape)
    allowed = np.flatnonzero(~told if fresh else told)
    order = allowed[np.argsort(-score[allowed], kind="stable")]

    def first(length: int) -> Array:
        return np.isin(np.arange(len(told)), order[:length])

    low, high = 0, min(len(order), int(told.sum()))
    while low < high:
        middle = (low + high + 1) // 2
        fine = rate(attacker, tuning, first(middle), rng).estimate <= limit
        low, high = (middle, high) if fine else (low, middle - 1)
    new = first(low)
    lists = {"old": told, "new": new, "both": told | new}
    return Remasked(told=new, **{name: rate(attacker, judged, each, rng) for name, each in lists.items()})
