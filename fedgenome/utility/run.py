"""Utility of a synthetic table, first version: classification and fidelity.

It reads real members and controls, so like the audit it is not differentially private and stays
internal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedgenome.audit.targets import Records
from fedgenome.errors import require
from fedgenome.utility import classify, fidelity
from fedgenome.utility.classify import Score
from fedgenome.utility.fidelity import Fidelity

STATEMENT = "reads real members and controls; stays internal"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Utility:
    """What a synthetic table is good for.

    Attributes:
        scores: Classifiers trained on synthetic rows, on members, and the majority line.
        synthetic: Synthetic rows against controls.
        real: Members against controls: what sampling alone does, the floor for ``synthetic``.
        rows: Synthetic rows.
        members: Rows of members.
        controls: Rows of controls.
    """

    scores: tuple[Score, ...]
    synthetic: Fidelity
    real: Fidelity
    rows: int
    members: int
    controls: int

    def to_json(self) -> dict[str, Any]:
        """Return everything a report shows, as plain JSON values."""
        return {
            "statement": STATEMENT,
            **{name: getattr(self, name) for name in ("rows", "members", "controls")},
            "scores": [score.to_json() for score in self.scores],
            "fidelity": {"synthetic": self.synthetic.to_json(), "real": self.real.to_json()},
        }


def utility(
    *,
    members: Records,
    controls: Records,
    synthetic: Records,
    low: float,
    rng: np.random.Generator,
    progress: Progress = lambda step: None,
) -> Utility:
    """Judge a synthetic table by what it teaches and by how its genes lie.

    Args:
        members: Rows of the training donors, in the data's unit; NaN counts as ``low``.
        controls: Rows of donors kept apart; NaN counts as ``low``.
        synthetic: The table.
        low: Smallest public expression value.
        rng: Seeds forests and resamples. The same state gives the same result.
        progress: Told each step's name.

    Raises:
        SpecError: On differing genes or an empty table.
    """
    genes = {"members": members.x.shape[1], "controls": controls.x.shape[1], "synthetic": synthetic.x.shape[1]}
    require(len(set(genes.values())) == 1, "the same number of genes everywhere", **genes)
    for name, rows in (("members", members), ("controls", controls), ("synthetic", synthetic)):
        require(len(rows.x) > 0, f"at least one row in {name}")
    inside, outside, table = (_finite(rows, low) for rows in (members, controls, synthetic))
    progress("classifiers")
    scores = classify.evaluate(inside, outside, table, rng)
    progress("fidelity")
    return Utility(
        scores=scores,
        synthetic=fidelity.compare(table.x, outside.x),
        real=fidelity.compare(inside.x, outside.x),
        rows=len(table.x),
        members=len(inside.x),
        controls=len(outside.x),
    )


def _finite(records: Records, low: float) -> Records:
    return replace(records, x=np.nan_to_num(records.x, nan=low))
