"""The calibrated worst case over all vectors of an audit: one score, honest about having looked at many.

The largest of K estimates is above 0 by chance: without any leak, and with 20 members and controls, the largest of
three vectors is .2 on average. So the score's lower bound is the largest of lower ends that share one chance of error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fedgenome.audit.bounds.effects import Effect, tails_for
from fedgenome.audit.results import LEVEL
from fedgenome.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst:
    """The worst vector's effect: 0 at its own negative control, 1 where it recites.

    Attributes:
        estimate: Largest estimate; biased upwards, as every maximum.
        low: Largest lower end; above the largest true effect with chance 1 − ``level`` at most.
        high: Largest upper end; below the largest true effect with chance 1 − ``level`` at most.
        level: One-sided confidence of either bound.
        vector: Which vector has the largest estimate.
        surest: Which has the largest lower end; None if no lower end is above 0.
        p_value: Of "no vector has an effect", corrected for all of them.
        effects: All vectors, worst first. Their lower ends hold together, their upper ends one at a time.
    """

    estimate: float
    low: float
    high: float
    level: float
    vector: str
    surest: str | None
    p_value: float
    effects: tuple[Effect, ...]

    @property
    def words(self) -> str:
        """The three numbers in words."""
        sure = f"{self.level:.0%} sure"
        least = (
            f"at least {self.low:.3f} ({self.surest}; {sure})" if self.surest else f"no lower bound above 0 ({sure})"
        )
        found = f"the largest of {len(self.effects)} estimates is {self.estimate:.3f} ({self.vector})"
        return f"{least}, at most {self.high:.3f} ({sure}); {found}; p = {self.p_value:.2g} over them all"

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def worst(effects: Sequence[Effect], level: float = LEVEL) -> Worst:
    """Return the worst case over ``effects``, all of them fixed before any was seen, each made with ``tails_for``.

    Raises:
        SpecError: no effects, two of one name, or ends at other chances than ``tails_for`` says: then an effect
            was left out or added after its ends were made.
    """
    require(len(effects) >= 1, "at least one effect")
    names = [each.vector for each in effects]
    require(len(set(names)) == len(names), "effects of different names", names=names)
    due = tails_for(len(effects), level)
    for each in effects:
        require(each.tails == due, f"{each.vector} with the tails of {len(effects)} vectors", tails=each.tails, due=due)
    ordered = sorted(effects, key=lambda each: -each.estimate)
    surest = max(ordered, key=lambda each: each.low)
    return Worst(
        estimate=ordered[0].estimate,
        low=surest.low,
        high=max(each.high for each in effects),
        level=level,
        vector=ordered[0].vector,
        surest=surest.vector if surest.low > 0 else None,
        p_value=min(1.0, len(effects) * min(each.p_value for each in effects)),
        effects=tuple(ordered),
    )
