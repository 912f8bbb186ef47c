"""What a ledger says of rows that were perturbed once (``fedgenome.sanitize``): a guarantee of its own kind.

It is of each record and in proportion to distance. It is neither added to the ε of plans nor held against a budget;
what adds up is the sanitizing of one set of rows after another, for all of which one donor may answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedgenome.errors import require

CLAIMS = ("private", "simulation", "none")
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sanitized:
    """One set of rows under one sanitizer.

    Attributes:
        data: A keyed digest of sanitizer and rows, hex, that says nothing of them: the same are paid for once.
        study: Hex digest of the Study that asked.
        claim: private; simulation where draws follow from a seed; none where nothing is drawn.
        kind: laplace or metric.
        epsilon: A unit of distance; None: rows have no noise.
        diameter: Of the public range, in such units.
        rounding: What is added to ε · distance, at any distance.
        labels_epsilon: Of randomised response; None: labels are exact.
    """

    data: str
    study: str
    claim: str
    kind: str
    epsilon: float | None
    diameter: float
    rounding: float | None
    labels_epsilon: float | None

    def __post_init__(self) -> None:
        require(len(self.data) == 64 and _HEX.issuperset(self.data), "data: 64 hex digits", data=self.data)
        require(self.claim in CLAIMS, f"claim one of {CLAIMS}", claim=self.claim)
        require(self.kind in ("laplace", "metric"), "kind laplace or metric", kind=self.kind)
        drawn = self.epsilon is not None or self.labels_epsilon is not None
        require(drawn == (self.claim != "none"), "claim none where nothing is drawn", claim=self.claim)
        require((self.rounding is None) == (self.epsilon is None), "rounding beside epsilon", rounding=self.rounding)
        for name in ("epsilon", "diameter", "rounding", "labels_epsilon"):
            value = getattr(self, name)
            require(value is None or 0 < value < math.inf, f"0 < {name} < inf", seen=value)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Sanitized:
        """Return what a ledger's record says.

        Raises:
            SpecError: a value breaks its rule. KeyError: a field is not there.
        """
        return cls(**{name: record[name] for name in cls.__dataclass_fields__})

    @property
    def record(self) -> dict[str, Any]:
        """The ledger's record."""
        return {"event": "sanitize", **asdict(self)}

    @property
    def text(self) -> str:
        """One line for a terminal."""
        rows = "no noise on rows"
        if self.epsilon is not None and self.rounding is not None:
            whole = self.epsilon * self.diameter + self.rounding
            rows = f"{self.kind}, ε = {self.epsilon:g} a unit of distance, {whole:.6g} over the whole range"
        labels = "exact labels" if self.labels_epsilon is None else f"labels ε = {self.labels_epsilon:g}"
        return f"{rows}; {labels}; {'a record, not a donor' if self.claim == 'private' else self.claim}"


def composed(every: Iterable[Sanitized]) -> tuple[float, float]:
    """Return ε a unit of distance and ε of labels that a record may answer for at most: the sums over all sets."""
    claimed = [one for one in every if one.claim == "private"]
    return math.fsum(one.epsilon or 0.0 for one in claimed), math.fsum(one.labels_epsilon or 0.0 for one in claimed)
