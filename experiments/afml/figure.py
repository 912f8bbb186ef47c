"""The figure: how many are found against what is kept of utility, a line an arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]

PANELS = {"of unmasked": "phenotype: utility of unmasked", "ancestry": "ancestry: accuracy of five"}
SHOWN = {
    "random": "random",
    "high F_ST": "high F_ST",
    "association": "association",
    "information on ancestry": "information on ancestry",
    "learned for the phenotype": "learned, phenotype",
    "learned for ancestry": "learned, ancestry",
    "coarse scores": "coarse scores",
}
POLICY = 0.1


def draw(rows: Sequence[Row], colours: Sequence[str]) -> Figure:
    """Return a panel for each use of a release: upper end of RR across, utility upwards."""
    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    for axes, (what, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for arm, colour in zip(SHOWN, colours, strict=False):
            _line(axes, [row for row in rows if row.get("released") == arm and row["RR"]], what, SHOWN[arm], colour)
        axes.axvline(POLICY, color="#555555", linewidth=0.8, linestyle="--")
        axes.set_xscale("log")
        axes.set_xlabel("share found, upper end (dashed: the policy's limit)")
        axes.set_title(label, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _line(axes: Axes, rows: Sequence[Row], what: str, label: str, colour: str) -> None:
    points = sorted((row["RR"][2], row[what][0] if isinstance(row[what], list) else row[what]) for row in rows)
    if points:
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, color=colour, label=label)
