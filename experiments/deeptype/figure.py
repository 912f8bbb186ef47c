"""The whole study in one figure: how right a classifier is on new people, against how well its own are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.deeptype import people

Row = Mapping[str, Any]

PANELS = {
    people.TCGA: "TCGA-BRCA, 909 genes",
    people.METABRIC: "METABRIC, 79 genes",
    people.SIMULATED: f"simulated, {people.STUDIED:,} genes",
}
FAMILIES = {  # rows' "family", and how it is drawn
    "non-private": ("without protection", "s"),
    "Table I": ("DP-SGD, published grid", "v"),
    "tuned": ("DP-SGD, tuned, all paid", "o"),
    "metric": ("metric noise, K = 50", "D"),
    "laplace": ("Laplace noise, K = 50", "d"),
    "generated": ("rows of DP generators", "^"),
}


def draw(rows: Sequence[Row], colours: Sequence[str]) -> Figure:
    """Return a panel a cohort: membership advantage across with its 95 % interval, accuracy upwards.

    Args:
        rows: With ``cohort``, ``family``, ``accuracy``, ``majority`` and ``advantage``, and what a point is called.
        colours: One a family.
    """
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    for axes, (cohort, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        shown = [row for row in rows if row["cohort"] == cohort and "advantage" in row]
        for (family, (label, mark)), colour in zip(FAMILIES.items(), colours, strict=False):
            _points(axes, [row for row in shown if row["family"] == family], label, mark, colour)
        if shown:
            axes.axhline(shown[0]["majority"], color="#555555", linewidth=0.8, linestyle="--")
        axes.axvline(0, color="#555555", linewidth=0.8, linestyle=":")
        axes.set_xlabel("membership advantage (95 %)")
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy on new people (dashed: majority)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _points(axes: Axes, rows: Sequence[Row], label: str, mark: str, colour: str) -> None:
    if not rows:
        return
    x, y = [row["advantage"] for row in rows], [row["accuracy"] for row in rows]
    reach = [
        [row["advantage"] - row["advantage low"] for row in rows],
        [row["advantage high"] - row["advantage"] for row in rows],
    ]
    axes.errorbar(x, y, xerr=reach, fmt=mark, color=colour, markersize=4, linewidth=0.8, label=label)
    for row in rows:
        axes.annotate(row["point"], (row["advantage"], row["accuracy"]), (3, 3), textcoords="offset points", fontsize=6)
