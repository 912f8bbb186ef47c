"""Whose expression the study reads: a simulated cohort, TCGA-BRCA, METABRIC with 79 genes; and who trains which model.

Models come in groups of five. A group cuts the people at random into five parts, and each of its models leaves one of
them out, so that everybody is tested by one model of a group and trains the other four.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from experiments.deeptype import worlds
from experiments.synthesis import cohorts
from fedgenome.audit import targets
from fedgenome.audit.shadows import draws
from fedgenome.cohort import expression
from fedgenome.cohort.split import undealt
from fedgenome.study import Schema

SIMULATED, TCGA, METABRIC = "simulated", "tcga_brca", "metabric"
COHORTS = (SIMULATED, TCGA, METABRIC)
STUDIED = 1000  # genes of the simulated cohort where hundreds of models are trained on it
SEED = 7  # of the simulated cohort
TRAINED = Fraction(4, 5)
GROUP = TRAINED.denominator
_NO_CLASS = "NC"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """A cohort.

    Attributes:
        name: Of :data:`COHORTS`.
        x: Expression in units of the public range, float32 (rows, genes), 0 to 1.
        label: Subtype of each row, int64 (rows,).
        owner: Whose row each is, int64 (rows,), 0 to the number of people.
        schema: The public facts.
    """

    name: str
    x: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]
    schema: Schema

    @property
    def number(self) -> int:
        """How many people there are."""
        return int(self.owner.max()) + 1

    @property
    def classes(self) -> int:
        """How many subtypes there are."""
        return len(self.schema.labels)

    def inside(self, groups: int, seed: int) -> npt.NDArray[np.bool_]:
        """Return which rows train each of ``groups`` groups of five models, bool (models, rows)."""
        held, _ = draws.inside(self.number, max(2, groups) * GROUP, TRAINED, np.random.default_rng([31, seed]))
        return np.asarray(held[: groups * GROUP, self.owner], np.bool_)

    def majority(self, inside: npt.NDArray[np.bool_]) -> float:
        """Return the accuracy on the rows that a model leaves out of always naming its commonest class."""
        return float((self.label[~inside] == np.bincount(self.label[inside]).argmax()).mean())


def simulated(genes: int = STUDIED, people: int = worlds.PEOPLE, seed: int = SEED) -> People:
    """Return a cohort in METABRIC's shape of nobody; another seed gives other people and programmes."""
    world = worlds.metabric(np.random.default_rng([20, seed]), people, genes)
    x = ((world.x - worlds.LOW) / (worlds.HIGH - worlds.LOW)).astype(np.float32)
    owner = np.arange(people)
    return People(name=SIMULATED, x=x, label=world.label, owner=owner, schema=worlds.schema(genes))


def _real(name: str) -> People:
    cohort = cohorts.read(name)
    schema = expression.schema_of(cohort, cohorts.spec(name))
    rows = targets.scaled(targets.people(undealt(cohort)), schema.low, schema.high)
    labels = tuple(label for label in schema.labels if label != _NO_CLASS)
    rows = rows.rows(np.flatnonzero(np.isin(rows.label, [schema.labels.index(label) for label in labels])))
    return People(
        name=name,
        x=rows.x.astype(np.float32),
        label=np.array([labels.index(schema.labels[i]) for i in rows.label], np.int64),
        owner=np.unique(rows.owner, return_inverse=True)[1].astype(np.int64),
        schema=schema.model_copy(update={"labels": labels}),
    )


_READERS: dict[str, Callable[[], People]] = {
    SIMULATED: simulated,
    TCGA: functools.partial(_real, TCGA),
    METABRIC: functools.partial(_real, METABRIC),
}


@functools.lru_cache(maxsize=1)
def read(name: str) -> People:
    """Return a cohort of :data:`COHORTS`.

    Raises:
        SpecError: its file is absent.
    """
    return _READERS[name]()
