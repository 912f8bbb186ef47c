"""What an attack says of each row of a group, before anything is counted: kept in memory, written nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fedgenome.audit.distance import per_donor
from fedgenome.audit.targets import Records
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scores:
    """Scores of the rows of members, or of controls; larger for those an attacker takes for members.

    Attributes:
        rows: float64 (rows,).
        donor: Whose row it is, int (rows,).
        strata: By column what the row's person is one of, str (rows,).
    """

    rows: Array
    donor: Array
    strata: Mapping[str, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, people: Records, rows: Array) -> Scores:
        """Return the scores ``rows`` of ``people``."""
        return cls(rows=rows, donor=people.owner, strata=people.strata)

    @classmethod
    def of_donors(cls, scores: Array) -> Scores:
        """Return scores of as many donors, one each, (donors,)."""
        return cls(rows=scores, donor=np.arange(len(scores)))

    def by_donor(self) -> Array:
        """Return each donor's score, float64 (donors,)."""
        return per_donor(self.rows, self.donor)

    def within(self, column: str, value: str) -> Array:
        """Return the scores of the donors who have rows of this stratum, from those rows alone, float64 (donors,)."""
        here = self.strata[column] == value
        return per_donor(self.rows[here], self.donor[here])
