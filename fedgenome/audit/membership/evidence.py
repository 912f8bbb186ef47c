"""What an attack on a classifier may see. Who was a member is not in it, so no attack can be tuned on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fedgenome.audit.signals import Signals
from fedgenome.errors import SpecError, require
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """People of whom it is known that no model saw them: other controls, or public records.

    Attributes:
        target: Their signals under the target, (people,).
        shadows: Under the shadows, (models, people).
    """

    target: Signals
    shadows: Signals


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Signals of the records in question under the target and its shadows.

    Attributes:
        label: Class of each record, int (records,).
        target: Signals under the target, (records,).
        shadows: Signals under the shadows, (models, records).
        inside: Whether a shadow was trained on a record, bool (models, records). It must not depend on who the
            target was trained on.
        group: Which shadows were drawn together, int (models,); see :mod:`fedgenome.audit.shadows.draws`.
        population: Others, for attacks that compare with them.
    """

    label: Array
    target: Signals
    shadows: Signals
    inside: Array
    group: Array
    population: Population | None = None

    def __post_init__(self) -> None:
        shapes = {
            "label": self.label.shape,
            "target": self.target.loss.shape,
            "shadows": self.shadows.loss.shape,
            "inside": self.inside.shape,
            "group": self.group.shape,
        }
        models, records = len(self.group), len(self.label)
        expected = [(records,), (records,), (models, records), (models, records), (models,)]
        require(list(shapes.values()) == expected, "signals of the same records and models", **shapes)
        require(self.inside.dtype == np.bool_, "inside of bool", dtype=self.inside.dtype)

    def as_targets(self) -> Iterator[tuple[Evidence, Array]]:
        """Yield, a shadow each, the evidence with that shadow in the target's place, and who was in it, (records,).

        All of its group are left out with it: the number of shadows that hold a record then says nothing of the
        one that is attacked. Left out alone it would, as everyone is IN equally many of a group.
        """
        for k, group in enumerate(self.group):
            others = self.group != group
            people = self.population
            seen = replace(
                self,
                target=self.shadows[k],
                shadows=self.shadows[others],
                inside=self.inside[others],
                group=self.group[others],
                population=people and Population(target=people.shadows[k], shadows=people.shadows[others]),
            )
            yield seen, self.inside[k]


def require_both(evidence: Evidence, fewest: int) -> None:
    """Check that every record is IN and OUT of at least ``fewest`` shadows."""
    held = evidence.inside.sum(0)
    least = {"inside": int(held.min()), "outside": int((len(evidence.inside) - held).min())}
    require(min(least.values()) >= fewest, f"each record in and out of {fewest} shadows at least", **least)


def require_out(evidence: Evidence, fewest: int) -> None:
    """Check that every record is OUT of at least ``fewest`` shadows."""
    least = int((~evidence.inside).sum(0).min())
    require(least >= fewest, f"each record out of {fewest} shadows at least", outside=least)


def require_population(evidence: Evidence) -> Population:
    """Return the population, without which the attack cannot be."""
    found = evidence.population
    if found is None or not len(found.target.loss):
        raise SpecError("expected a population of one record or more that no model saw, got none")
    return found
