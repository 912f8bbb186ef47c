"""The frontier: points of one arm pooled over seeds, and arms compared where as many people are found, not told.

Seeds judge different people, so that hits are those of one trial a person. AUCs are means over seeds, each of another
phenotype, with Student's interval; what an AUC is worth is (AUC − ½) over that of an analyst from whom nothing is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.afml import attacks
from experiments.afml.worlds import Figures
from experiments.synthesis.judge import interval
from fedgenome.audit.bounds.simultaneous import Worst
from fedgenome.query import Array

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pooled:
    """A point of the frontier, over seeds.

    Attributes:
        arm: What was released.
        told: How much of it, in words or as a number of variants.
        found: The worst attacker's rate; None where no record of anybody leaves.
        judged: People with one trial each.
        auc: Of the phenotype, one a seed (seeds,).
        ancestry: Share of ancestries told rightly, one a seed (seeds,).
        bits: Proven by the likelihood matcher, mean; None where it was not asked.
        sigmas: Of its scores, own pairs above others', mean; None where it was not asked.
    """

    arm: str
    told: str
    found: Worst | None
    judged: int
    auc: Array
    ancestry: Array
    bits: float | None
    sigmas: float | None

    @property
    def high(self) -> float:
        """Upper end of the re-identification rate; 0 where no record of anybody leaves."""
        return self.found.high if self.found else 0.0


Frontier = Mapping[str, Sequence[Pooled]]  # points by arm


def pool(arm: str, cells: Sequence[Figures]) -> list[Pooled]:
    """Return the points of an arm that every seed has."""
    labels = [label for label in cells[0]["points"] if all(label in each["points"] for each in cells)]
    return [_pooled(arm, label, cells) for label in labels]


def _pooled(arm: str, label: str, cells: Sequence[Figures]) -> Pooled:
    points = [each["points"][label] for each in cells]
    found: dict[str, tuple[int, int]] = {}
    for each, point in zip(cells, points, strict=True):
        for attacker, hits in point.get("hits", {}).items():
            right, n = found.get(attacker, (0, 0))
            found[attacker] = right + hits, n + each["linked"]
    return Pooled(
        arm=arm,
        told=label,
        found=attacks.pooled(found, min(each["candidates"] for each in cells)) if found else None,
        judged=sum(each["linked"] for each in cells),
        auc=np.array([point["AUC"] for point in points]),
        ancestry=np.array([point["ancestry"] for point in points]),
        bits=_mean(points, "bits"),
        sigmas=_mean(points, "sigmas"),
    )


def _mean(points: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [point[name] for point in points if name in point]
    return float(np.mean(values)) if values else None


def worth(point: Pooled, whole: Pooled) -> float:
    """Return what a point's AUC is worth of that of ``whole``, 1 for as much."""
    return float((point.auc.mean() - 0.5) / (whole.auc.mean() - 0.5))


def best(points: Sequence[Pooled], most: float, target: str = "auc") -> Pooled | None:
    """Return the most useful point whose rate's upper end is ``most`` or less; None if there is none."""
    allowed = [point for point in points if point.high <= most]
    return max(allowed, key=lambda point: float(getattr(point, target).mean()), default=None)


def ahead(one: Pooled, other: Pooled, target: str = "auc") -> tuple[float, float, float]:
    """Return by how much one point is more useful than another, mean over seeds and its interval."""
    apart = getattr(one, target) - getattr(other, target)
    return float(apart.mean()), *interval(list(apart))


def row(point: Pooled, whole: Pooled) -> Row:
    """Return a row of the table."""
    found = point.found
    return {
        "released": point.arm,
        "told": point.told,
        "RR": None if found is None else _short(found.estimate, found.low, found.high),
        "by": None if found is None else found.vector,
        "people": point.judged,
        "bits": None if point.bits is None else round(point.bits, 2),
        "sigmas": None if point.sigmas is None else round(point.sigmas, 2),
        "AUC": _short(float(point.auc.mean()), *interval(list(point.auc))),
        "of unmasked": round(worth(point, whole), 3),
        "ancestry": _short(float(point.ancestry.mean()), *interval(list(point.ancestry))),
    }


def _short(*values: float) -> list[float]:
    return [round(float(np.clip(value, 0, 1)), 4) for value in values]
