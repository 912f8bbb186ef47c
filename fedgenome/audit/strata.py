"""Whom a release exposes most: every attack within every class, site, or value of another column.

An AUC over everybody can hide a group whose members are all recognised. Within a stratum members and controls are as
exchangeable as over all, given their numbers, so each gets an AUC of its own, of the rows of that stratum. One looks at
strata × attacks intervals and picks the worst: all of them hold together (Bonferroni). Strata with few members or few
controls say nothing and are named as too small.

It reads real people: internal, as all of this audit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedgenome.audit.bounds.ranking import auc_interval, detectable_auc
from fedgenome.audit.results import LEVEL, Audit, Interval
from fedgenome.audit.scores import Scores

FEWEST = 10  # donors among members, and among controls: of so few an attack with an AUC under .83 goes unseen


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The people of one value of a column, and what each attack achieved among them.

    Attributes:
        column: The column.
        value: Its value.
        members: Donors with rows of it who were trained on.
        controls: Evaluated controls with rows of it.
        aucs: Attack → AUC among them, intervals over all strata and attacks at once; empty if they are too few.
        detectable_auc: AUC that would be found above chance with 80 % power, all strata and attacks counted; 1 if they
            are too few.
    """

    column: str
    value: str
    members: int
    controls: int
    aucs: Mapping[str, Interval]
    detectable_auc: float = 1.0

    @property
    def name(self) -> str:
        """Column and value."""
        return f"{self.column} {self.value}"

    @property
    def worst(self) -> tuple[str, Interval] | None:
        """The attack with the largest AUC; None if they are too few."""
        return max(self.aucs.items(), key=lambda one: one[1].estimate, default=None)

    @property
    def words(self) -> str:
        """The finding in words."""
        who = f"{self.members:,} members and {self.controls:,} controls"
        if self.worst is None:
            return f"{self.name}: {who} are too few (at least {FEWEST} of each)"
        attack, auc = self.worst
        return f"{self.name}: AUC {auc.words} by {attack}, of {who}; {self.detectable_auc:.2f} would be found"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        told = {n: getattr(self, n) for n in ("column", "value", "members", "controls", "detectable_auc", "words")}
        return told | {"aucs": {attack: auc.to_json() for attack, auc in self.aucs.items()}, "fewest": FEWEST}


def stratified(audit: Audit, level: float = LEVEL) -> Audit:
    """Return ``audit`` with its strata: by column, the worst exposed first, those too small last.

    Columns of which everybody has the same value are left out: their only stratum is everybody.

    Args:
        audit: All attacks on one release.
        level: Confidence at which all intervals of all strata hold together.

    Raises:
        SpecError: an attack's scores were not kept.
    """
    if not audit.attacks:
        return audit
    strata = list(_sizes(*audit.attacks[0].groups))
    intervals = len(audit.attacks) * sum(not _small(stratum) for stratum in strata)
    judged = [stratum if _small(stratum) else _judged(stratum, audit, intervals, level) for stratum in strata]
    columns = list(dict.fromkeys(stratum.column for stratum in strata))

    def place(stratum: Stratum) -> tuple[int, float, str]:
        return columns.index(stratum.column), -(stratum.worst[1].estimate if stratum.worst else -1.0), stratum.value

    return replace(audit, strata=tuple(sorted(judged, key=place)))


def _sizes(members: Scores, controls: Scores) -> Iterator[Stratum]:
    for column in members.strata:
        values = np.unique(np.concatenate([group.strata[column] for group in (members, controls)]))
        for value in values if len(values) > 1 else ():
            inside, outside = len(members.within(column, value)), len(controls.within(column, value))
            yield Stratum(column=column, value=str(value), members=inside, controls=outside, aucs={})


def _small(stratum: Stratum) -> bool:
    return min(stratum.members, stratum.controls) < FEWEST


def _judged(stratum: Stratum, audit: Audit, intervals: int, level: float) -> Stratum:
    """Return ``stratum`` with its AUCs, each at its share of 1 − ``level``."""
    aucs = {}
    for attack in audit.attacks:
        inside, outside = (group.within(stratum.column, stratum.value) for group in attack.groups)
        aucs[attack.name] = auc_interval(inside, outside, 1 - (1 - level) / intervals)
    power = detectable_auc(stratum.members, stratum.controls, 2 * intervals, level=level)
    return replace(stratum, aucs=aucs, detectable_auc=power)
