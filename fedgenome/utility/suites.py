"""Which families of figures a table is judged by: those of expression, or those of genotypes."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from fedgenome.audit.targets import Records
from fedgenome.utility import (
    closeness,
    clusters,
    coexpression,
    differential,
    discriminator,
    fidelity,
    genotypes,
    kernel,
    relatives,
)
from fedgenome.utility.metrics import Settings, Value, unsaid

UNREAD = "needs the rows that the table was trained on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """Families beside classifiers, in the order of tables. Each has ``METRICS`` and ``measure``.

    Attributes:
        against_truth: Measured of a table and real rows.
        against_train: Measured of a table, the rows that it was trained on, and unseen ones.
    """

    against_truth: tuple[ModuleType, ...]
    against_train: tuple[ModuleType, ...]

    @property
    def families(self) -> tuple[ModuleType, ...]:
        """All of them."""
        return (*self.against_truth, *self.against_train)

    def true(self, table: Records, truth: Records, rng: np.random.Generator, settings: Settings) -> dict[str, Value]:
        """Return the figures against real rows."""
        found: dict[str, Value] = {}
        for family in self.against_truth:
            found |= family.measure(table, truth, rng, settings)
        return found

    def near(
        self, table: Records, train: Records, unseen: Records, rng: np.random.Generator, settings: Settings
    ) -> dict[str, Value]:
        """Return the figures against training rows and unseen ones."""
        found: dict[str, Value] = {}
        for family in self.against_train:
            found |= family.measure(table, train, unseen, rng, settings)
        return found

    def unread(self, why: str) -> dict[str, Value]:
        """Return those figures where there are no such rows."""
        return {metric.name: unsaid(why) for family in self.against_train for metric in family.METRICS}


EXPRESSION = Suite(
    against_truth=(differential, coexpression, fidelity, kernel, discriminator, clusters), against_train=(closeness,)
)
GENOTYPES = Suite(against_truth=(genotypes, kernel, discriminator), against_train=(closeness, relatives))


def suite_of(dosages: bool) -> Suite:
    """Return the suite of rows of dosages, or of expression."""
    return GENOTYPES if dosages else EXPRESSION
