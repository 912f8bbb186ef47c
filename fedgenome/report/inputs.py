"""What the internal report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedgenome.errors import require
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """One line of a training plot.

    Attributes:
        name: What the line is, e.g. ``cvae``.
        x: float or int (points,), e.g. the round.
        y: float (points,).
        x_title: What x counts.
        y_title: What y measures, with its unit; curves of the same titles share a plot.
        note: What a reader must know, e.g. whether the values are noisy sums or exact.
    """

    name: str
    x: Array
    y: Array
    x_title: str = "round"
    y_title: str = "loss"
    note: str = ""

    def __post_init__(self) -> None:
        require(len(self.x) == len(self.y), f"as many x as y in curve {self.name}", x=len(self.x), y=len(self.y))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Real rows and those that one method generated.

    Attributes:
        method: Who generated.
        genes: Column names.
        labels: Names of the label codes.
        real: float (rows, genes); NaN allowed.
        real_label: int (rows,).
        synthetic: float (rows, genes).
        synthetic_label: int (rows,).
    """

    method: str
    genes: Sequence[str]
    labels: Sequence[str]
    real: Array
    real_label: Array
    synthetic: Array
    synthetic_label: Array

    def __post_init__(self) -> None:
        for what, x, label in (
            ("real", self.real, self.real_label),
            ("synthetic", self.synthetic, self.synthetic_label),
        ):
            require(x.shape == (len(label), len(self.genes)), f"{what} rows of {len(self.genes)} genes", shape=x.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the run took.

    Attributes:
        seconds: Named step → wall-clock seconds, in order.
        bytes: What was sent → bytes.
        queries: Method → queries answered.
        other: Further rows, name → text (peak memory, machine).
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    queries: Mapping[str, int] = field(default_factory=dict)
    other: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportInputs:
    """Everything the internal report shows.

    Attributes:
        card: The final release card.
        verdict: ``Verdict.to_json()`` of the gate.
        audit: ``Audit.to_json()``, or several by method.
        utility: Method → result as JSON; see :mod:`fedgenome.report.sections`.
        curves: Training curves.
        comparisons: Real against synthetic, one per method that generates.
        cost: What the run took.
        ledger: Records of the ledger.
        classifiers: Method → how often it is right on controls, as JSON.
        linkage: ``Linkage.to_json()`` of masked rows; empty where rows are generated.
    """

    card: Mapping[str, Any]
    verdict: Mapping[str, Any]
    audit: Mapping[str, Any]
    utility: Mapping[str, Any]
    curves: Sequence[Curve]
    comparisons: Sequence[Comparison]
    cost: Cost
    ledger: Sequence[Mapping[str, Any]]
    classifiers: Mapping[str, Any] = field(default_factory=dict)
    linkage: Mapping[str, Any] = field(default_factory=dict)
