"""A bug beside the correct thing it is the smallest edit of, and what one named detector says of either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from fedgenome.methods.base import Method

FIRM = 1e-6  # a statistical check fires below
Kind = Literal["caught", "missed", "power"]
_Made = TypeVar("_Made", bound=Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a detector said.

    Attributes:
        bug: What is broken, in a few words.
        detector: The function that tells.
        statistic: What it looks at, and where it fires.
        broken: That of the bug; the median of several runs.
        correct: That of the correct twin.
        fired: Runs of the bug in which it fires.
        runs: Of how many.
        false: Runs of the twin in which it fires.
        correct_runs: Of how many.
        kind: Missed: shown because no detector fires; power: how large a fault must be.
    """

    bug: str
    detector: str
    statistic: str
    broken: float
    correct: float
    fired: int
    runs: int = 1
    false: int
    correct_runs: int = 1
    kind: Kind = "caught"

    @property
    def row(self) -> dict[str, Any]:
        """The verdict as a line of the table."""
        return {
            "kind": self.kind,
            "bug": self.bug,
            "detector": self.detector,
            "statistic": self.statistic,
            "of the bug": self.broken,
            "of the twin": self.correct,
            "fires": f"{self.fired} of {self.runs}",
            "fires on the twin": f"{self.false} of {self.correct_runs}",
        }


def once(
    bug: str,
    detector: str,
    statistic: str,
    broken: float,
    correct: float,
    fires: Callable[[float], bool],
    kind: Kind = "caught",
) -> Verdict:
    """Return the verdict of one look at the bug and one at its twin."""
    return Verdict(
        bug=bug,
        detector=detector,
        statistic=statistic,
        broken=float(broken),
        correct=float(correct),
        fired=int(fires(broken)),
        false=int(fires(correct)),
        kind=kind,
    )


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
