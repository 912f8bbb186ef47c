"""Who fits attackers and who is judged: never the same person, nor one of a family, on both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedgenome.audit.linkage import kinship
from fedgenome.audit.linkage.dosages import GENOTYPES
from fedgenome.errors import SpecError
from fedgenome.query import Array

_LEAST, _VARIANTS = 1000, 4096  # variants that families are found by: fewer than the first know no relative
_PEOPLE = 3000  # among whom: all pairs are compared


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sides:
    """Two sides of people, by index.

    Attributes:
        fit: Rows whose owners are in the panel: attackers are fitted to them.
        base: Panel people without such a row, for the same.
        probes: Rows that are judged: those with an owner among the candidates, then decoys.
        candidates: Panel people among whom they are looked for.
        owner: int (probes,): which candidate a probe is of; −1 for a decoy.
    """

    fit: Array
    base: Array
    probes: Array
    candidates: Array
    owner: Array


def families(panel: Array) -> Array:
    """Return whose family each person of a panel is of, int (people,): relatives up to the second degree, by dosages.

    With under 1,000 variants, and above 3,000 people, everybody is by itself. A relative on the other side helps
    attackers: bounds on what they find hold all the same.
    """
    few = not np.issubdtype(panel.dtype, np.integer) or panel.shape[1] < _LEAST
    if few or len(panel) > _PEOPLE:
        return np.arange(len(panel))
    some = panel[:, :: -(-panel.shape[1] // _VARIANTS)]
    return kinship.families(kinship.kinship(some, some), kinship.SECOND)


def deal(
    whose: Array, leaves: Array, family: Array, rng: np.random.Generator, *, share: float, decoys: float = 0.0
) -> Sides:
    """Deal people out to the two sides; who does not leave is the first to fit attackers.

    Args:
        whose: int (rows,): which person of the panel a row is of; −1 for none.
        leaves: bool (rows,): rows of the release. The others have controls' place.
        family: int (panel,).
        rng: Draws families and decoys.
        share: Of the people in both, who fit attackers.
        decoys: Of those judged, whose record leaves the panel.

    Raises:
        SpecError: too few people are in both.
    """
    both = np.flatnonzero(whose >= 0)
    kin = family[whose[both]]
    outside = np.unique(kin[~leaves[both]])
    order = np.concatenate([rng.permutation(outside), rng.permutation(np.setdiff1d(kin, outside))])
    reached = np.cumsum([(kin == one).sum() for one in order])
    learning = order[: np.searchsorted(reached, share * len(both)) + 1]
    fit, rest = both[np.isin(kin, learning)], both[~np.isin(kin, learning)]
    judged = rest[leaves[rest]]
    if min(len(fit), len(judged)) < 2:
        rule = "expected people of both files, two to fit attackers and two of the release to judge"
        raise SpecError(f"linkage: {rule}, got {len(both)} in both (ids: panel's row names, or its column `id`)")
    taken = rng.choice(judged, int(decoys * len(judged)), replace=False)
    judged = np.setdiff1d(judged, taken)
    learnt = np.isin(family, learning)
    strangers = np.setdiff1d(np.flatnonzero(~learnt), whose[both])
    spared = rng.choice(strangers, int(share * len(strangers)), replace=False)
    base = np.concatenate([np.setdiff1d(np.flatnonzero(learnt), whose[fit]), spared])
    candidates = rng.permutation(np.setdiff1d(np.flatnonzero(~learnt), np.concatenate([spared, whose[taken]])))
    place = np.full(len(family), -1)
    place[candidates] = np.arange(len(candidates))
    probes = np.concatenate([judged, taken, np.flatnonzero((whose < 0) & leaves)])
    owner = np.where(whose[probes] >= 0, place[whose[probes]], -1)
    return Sides(fit=fit, base=base, probes=probes, candidates=candidates, owner=owner)


def second_look(rows: Array, error: float, rng: np.random.Generator) -> Array:
    """Return a second look at the same people, where nobody has one: ``rows`` with errors.

    A dosage is another one with chance ``error``; a number gets noise of ``error`` standard deviations of its column.
    """
    if np.issubdtype(rows.dtype, np.integer):
        wrong = (rows >= 0) & (rng.random(rows.shape) < error)
        return np.where(wrong, (rows + rng.integers(1, GENOTYPES, rows.shape)) % GENOTYPES, rows).astype(np.int8)
    return np.asarray(rows + error * np.nanstd(rows, axis=0) * rng.standard_normal(rows.shape), np.float32)
