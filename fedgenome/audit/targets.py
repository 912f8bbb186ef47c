"""What is attacked, and with whose records: rows of people and rows of a table (DESIGN §7.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from fedgenome.errors import SpecError, require
from fedgenome.query import Array

if TYPE_CHECKING:
    from fedgenome.cohort.shard import Shard


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Records:
    """Rows with a class each, and whose rows they are.

    Attributes:
        x: Expression, (rows, genes), any float dtype; NaN stands for "not measured".
        label: Class of each row, int (rows,).
        donor: Whose row it is, int (rows,), any numbering; without it every row is its own unit.
        strata: By column (class, site, …) what the row's person is one of, str (rows,).
    """

    x: Array
    label: Array
    donor: Array | None = None
    strata: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.x.ndim == 2, "x of two dimensions (rows, genes)", shape=self.x.shape)
        require(self.label.shape == (len(self.x),), "a label per row", rows=len(self.x), labels=self.label.shape)
        whose = np.arange(len(self.x)) if self.donor is None else self.donor
        require(whose.shape == (len(self.x),), "a donor per row", rows=len(self.x), donors=whose.shape)
        for column, values in self.strata.items():
            require(values.shape == (len(self.x),), f"a {column} per row", rows=len(self.x), shape=values.shape)
        object.__setattr__(self, "donor", whose)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def owner(self) -> Array:
        """``donor``, which is never None once the record is built."""
        require(self.donor is not None, "a donor per row")
        return np.asarray(self.donor)

    @property
    def units(self) -> Array:
        """The different donors, sorted."""
        return np.unique(self.owner)

    def rows(self, chosen: Array) -> Records:
        """Return the rows that a mask or an index array picks."""
        return Records(
            x=self.x[chosen],
            label=self.label[chosen],
            donor=self.owner[chosen],
            strata={column: values[chosen] for column, values in self.strata.items()},
        )

    def of(self, donors: Array) -> Records:
        """Return all rows of ``donors``."""
        return self.rows(np.isin(self.owner, donors))


Losses = Callable[[Records], Array]  # a model's loss of each row, float64 (rows,): the lower, the better known


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """What an attacker holds.

    Attributes:
        table: The synthetic table to be released (threat: synthetic data only).
        samples: Many rows drawn from the released generator (threat: query access); the table again
            where nothing else is released.
        reference: Rows of a generator that never saw the members, for calibrated GAN-leaks; optional.
        losses: The released model's loss of scaled rows (threat: released weights); None where no model leaves.
    """

    table: Records
    samples: Records
    reference: Records | None = None
    losses: Losses | None = None


def required(target: Target) -> Losses:
    """Return the losses of ``target``.

    Raises:
        SpecError: It has no model.
    """
    if target.losses is None:
        raise SpecError("expected a target with a model that tells losses, got none")
    return target.losses


def people(shard: Shard) -> Records:
    """Return the filled slots of ``shard``: empty ones are nobody's."""
    return Records(x=shard.x[shard.mask], label=shard.label[shard.mask], donor=shard.donor[shard.mask])


def scaled(records: Records, low: float, high: float) -> Records:
    """Return ``records`` with expression mapped from the public range [low, high] to [0, 1].

    Values beyond the range are clipped; "not measured" becomes 0, the public lowest value. Nothing
    is fitted, so the scaling cannot carry members into the scores (DESIGN §7.9).
    """
    require(low < high, "low < high", low=low, high=high)
    x = np.clip((records.x - low) / (high - low), 0.0, 1.0)
    return replace(records, x=np.nan_to_num(x, copy=False, nan=0.0))


def joined(*groups: Records) -> Records:
    """Return the rows of all groups, whose donors are different people: numbered from 0 on, group after group."""
    before = np.cumsum([0, *(len(group.units) for group in groups)])
    owner = [n + np.unique(group.owner, return_inverse=True)[1] for n, group in zip(before, groups, strict=False)]
    x, label = (np.concatenate([getattr(group, name) for group in groups]) for name in ("x", "label"))
    return Records(x=x, label=label, donor=np.concatenate(owner))


def independent(base: Records, n: int, rng: np.random.Generator) -> Records:
    """Return ``n`` rows of a generator fitted to ``base`` alone: genes drawn independently in a class.

    Both control tables start from it. It knows nothing of the members, so any leak that the attacks
    find in it is false, and any leak they find after copies are added comes from the copies.
    """
    label = rng.choice(base.label, n)
    x = np.empty((n, base.x.shape[1]), base.x.dtype)
    for each in np.unique(label):
        here = np.flatnonzero(label == each)
        rows = rng.choice(np.flatnonzero(base.label == each), (len(here), base.x.shape[1]))
        x[here] = np.take_along_axis(base.x, rows, axis=0)
    return Records(x=x, label=label)
