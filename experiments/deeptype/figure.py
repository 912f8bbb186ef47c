"""The whole study in one figure: how right a classifier is on new people, against how well its own are told.

Hollow marks are of the same models asked by the sanitized records that trained them.
"""

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
            own = [row for row in shown if row.get("family") == family]
            _points(axes, own, "advantage", {"label": label, "fmt": mark, "color": colour})
            _points(
                axes, own, "sanitized queries: advantage", {"fmt": mark, "color": colour, "markerfacecolor": "none"}
            )
        if shown:
            axes.axhline(shown[0]["majority"], color="#555555", linewidth=0.8, linestyle="--")
        axes.axvline(0, color="#555555", linewidth=0.8, linestyle=":")
        axes.set_xlabel("membership advantage (95 %)")
        axes.set_title(title, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("accuracy on new people (dashed: majority)")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _points(axes: Axes, rows: Sequence[Row], what: str, style: Mapping[str, Any]) -> None:
    rows = [row for row in rows if what in row]
    if not rows:
        return
    x, y = [row[what] for row in rows], [row["accuracy"] for row in rows]
    reach = [[row[what] - row[f"{what} low"] for row in rows], [row[f"{what} high"] - row[what] for row in rows]]
    axes.errorbar(x, y, xerr=reach, markersize=4, linewidth=0.8, **style)
    for row in rows:
        axes.annotate(row["point"], (row[what], row["accuracy"]), (3, 3), textcoords="offset points", fontsize=5)
