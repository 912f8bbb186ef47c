"""A bug beside the correct thing it is the smallest edit of, and what one named detector says of either."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from fedgenome.methods.base import Method

FIRM = 1e-6  # a statistical check fires below
Kind = Literal["caught", "missed", "power"]
_Made = TypeVar("_Made", bound=Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a detector said of a bug and of its twin.

    Attributes:
        bug: What is broken, in a few words.
        detector: Who looked.
        broken: The statistic in each run of the bug.
        correct: The statistic in each run of the twin.
        kind: Missed: shown because the detector does not fire; power: shown for how large a fault must be.
    """

    bug: str
    detector: Detector
    broken: Sequence[float]
    correct: Sequence[float]
    kind: Kind = "caught"

    @property
    def fired(self) -> float:
        """The share of the bug's runs in which the detector fires."""
        return self.detector.share(self.broken)

    @property
    def false(self) -> float:
        """The share of the twin's runs in which it does."""
        return self.detector.share(self.correct)

    @property
    def row(self) -> dict[str, Any]:
        """The verdict as a line of the table; of several runs the median."""
        return {
            "kind": self.kind,
            "bug": self.bug,
            "detector": self.detector.name,
            "statistic": self.detector.statistic,
            "of the bug": statistics.median(self.broken),
            "of the twin": statistics.median(self.correct),
            "fires": f"{round(self.fired * len(self.broken))} of {len(self.broken)}",
            "fires on the twin": f"{round(self.false * len(self.correct))} of {len(self.correct)}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """What tells a bug from its twin.

    Attributes:
        name: Where it is to be found.
        statistic: What it looks at, and where it fires.
        fires: Whether it fires at a value of the statistic.
    """

    name: str
    statistic: str
    fires: Callable[[float], bool]

    def share(self, found: Sequence[float]) -> float:
        """Return the share of runs in which it fires."""
        return sum(self.fires(each) for each in found) / len(found)

    def once(self, bug: str, broken: float, correct: float, kind: Kind = "caught") -> Verdict:
        """Return what one look at the bug and one at its twin gave."""
        return Verdict(bug=bug, detector=self, broken=(float(broken),), correct=(float(correct),), kind=kind)


def unlikely(p_value: float) -> bool:
    """Return whether a statistical check fires."""
    return p_value < FIRM


def anything(found: float) -> bool:
    """Return whether a check that counts what must not be there fires."""
    return found > 0


def as_a(made: type[_Made], method: Method, **more: object) -> _Made:
    """Return a method of the library with its fields, calibrated noise included, as a broken subclass of its own."""
    held: Any = method
    return made(**{field.name: getattr(held, field.name) for field in fields(held)}, **more)
