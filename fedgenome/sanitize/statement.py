"""What is said of sanitized rows, on cards and terminals: never in the same breath as ε of donors (DESIGN §7.6)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedgenome.cohort.shard import Array
from fedgenome.sanitize.guarantee import Guarantee, median_distance
from fedgenome.study import Study

APART = (
    "sanitized rows carry a record-level guarantee in proportion to distance; it is neither compared with nor added to "
    "an ε of donors"
)
EXACT_LABELS = "labels were not sanitized: they are exact"
REFERENCE = "rows were not noised, only shortened to their kept coefficients: that protects nobody"
_WORTH_LITTLE = 10.0  # ε over the whole range beyond which a row is hardly hidden among all others


def told(study: Study, *, seeded: bool) -> dict[str, Any] | None:
    """Return the card's part on sanitized rows; None where none are. A simulation's prints no ε."""
    return None if study.sanitize is None else facts(Guarantee.of(study.sanitize, study.schema_), seeded=seeded)


def facts(promised: Guarantee, *, seeded: bool) -> dict[str, Any]:
    """Return what is said of rows under a sanitizer, wherever they go. A simulation's prints no ε."""
    spec = promised.spec
    noised = spec.epsilon is not None and not seeded
    return {
        "kind": spec.kind,
        "basis": spec.basis,
        "coefficients": f"{promised.kept:,} of {promised.genes:,}",
        "unit": "one record, against any other record; not whether a donor took part",
        "one_unit_of_distance": _unit(promised),
        "epsilon": spec.epsilon if noised else None,
        "diameter": promised.diameter,
        "epsilon_times_diameter": promised.local if noised else None,
        "epsilon_times_median_distance": "reads people: told to the operator alone",
        "rounding": promised.rounding if noised else None,
        "delta": promised.delta if noised else None,
        "mean_noise": promised.mean_noise,
        "labels_epsilon": None if seeded else spec.labels_epsilon,
        "caution": cautions(promised),
    }


def warnings(study: Study) -> list[str]:
    """Return what must be read beside a sanitizer's ε, which it may not stand without."""
    return [] if study.sanitize is None else cautions(Guarantee.of(study.sanitize, study.schema_))


def cautions(promised: Guarantee) -> list[str]:
    """Return what must be read beside ε of rows under a sanitizer."""
    spec = promised.spec
    lines = [APART] if spec.epsilon is not None else [REFERENCE]
    if spec.epsilon is not None and promised.local > _WORTH_LITTLE:
        lines.append("over the whole range the guarantee of sanitized rows bounds next to nothing: compare near rows")
    if promised.rows_per_donor != 1:
        most = f"up to {promised.rows_per_donor}" if promised.rows_per_donor else "any number of"
        lines.append(f"rows of one donor compose: {most} rows of a donor answer for as many times the guarantee of one")
    return lines + [EXACT_LABELS] * (spec.labels_epsilon is None)


def for_operator(study: Study, rows: Array) -> list[str]:
    """Return :func:`warnings`, and ε beside its scale and the rows' median distance, which stays inside.

    Args:
        study: The Study.
        rows: (rows, genes), in the schema's units; none where nobody's are at hand.
    """
    if study.sanitize is None:
        return []
    line = scale(Guarantee.of(study.sanitize, study.schema_), rows)
    return [*([] if line is None else [line]), *warnings(study)]


def scale(promised: Guarantee, rows: Array) -> str | None:
    """Return ε beside its scale and the rows' median distance, for whoever may see the rows; None without noise."""
    epsilon = promised.spec.epsilon
    if epsilon is None:
        return None
    line = (
        f"sanitized rows: ε = {epsilon:g} a unit of distance ({_unit(promised)}); "
        f"× diameter {promised.diameter:.4g} = {promised.local:.4g}"
    )
    if len(rows) >= 2:
        middle = median_distance(rows, promised, np.random.default_rng(0))
        line += f"; × median distance {middle:.3g} of two rows = {promised.loss(middle):.4g}, which stays inside"
    return line


def _unit(promised: Guarantee) -> str:
    return f"one gene over its whole public range, {promised.low:g} to {promised.high:g}"
