"""Figure 2: how far sanitized rows lie, truncation and noise apart, and how many are recognised, a column a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.deeptype.distances import CHECK, EQUAL, METRIC, NONE, PUBLISHED, RANGE

Row = Mapping[str, Any]

_SHOWN = 50  # K where mechanisms are compared
_ALL = "all"
_TITLES = (
    "distance to the original, metric (dashed: truncation)",
    f"noise alone, K = {_SHOWN}",
    f"share linked, K = {_SHOWN} (dotted: chance)",
)


def draw(rows: Sequence[Row], colours: Sequence[str]) -> Figure:
    """Return panels by ε in units of the public range: distances by K, noise and linkage by mechanism."""
    shown = [row for row in rows if row.get("scale") == RANGE and row["mechanism"] != CHECK]
    cohorts = list(dict.fromkeys(row["cohort"] for row in shown))
    figure = Figure(figsize=(3.1 * len(cohorts), 7.6), layout="constrained")
    grid = figure.subplots(len(_TITLES), len(cohorts), squeeze=False, sharex=True)
    for i, cohort in enumerate(cohorts):
        own = [row for row in shown if row["cohort"] == cohort]
        _lengths(grid[0][i], own, colours)
        fixed = [row for row in own if row["K"] == _SHOWN]
        _lines(grid[1][i], fixed, "noise", colours)
        _lines(grid[2][i], fixed, "linked by K", colours)
        grid[2][i].axhline(fixed[0]["chance"], color="#555555", linewidth=0.8, linestyle=":")
        grid[2][i].set_xlabel("ε a unit of distance")
        for axes, title in zip((line[i] for line in grid), _TITLES, strict=True):
            axes.set_title(f"{cohort}: {title}", fontsize=6.5)
            axes.spines[["top", "right"]].set_visible(False)
    for line in grid[0], grid[1]:
        figure.legend(*line[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def _lengths(axes: Axes, rows: Sequence[Row], colours: Sequence[str]) -> None:
    for colour, keep in zip(colours, dict.fromkeys(row["K"] for row in rows), strict=False):
        own = [row for row in rows if row["K"] == keep and row["mechanism"] == METRIC]
        x, y = [row["epsilon"] for row in own], [row["distance"] for row in own]
        axes.loglog(x, y, marker="o", markersize=3, linewidth=1, color=colour, label=f"K = {keep}")
        if keep != _ALL:  # which leaves nothing out
            axes.axhline(own[0]["truncation"], color=colour, linewidth=0.8, linestyle="--")


def _lines(axes: Axes, rows: Sequence[Row], what: str, colours: Sequence[str]) -> None:
    for colour, mechanism in zip(colours, (METRIC, EQUAL, PUBLISHED), strict=False):
        own = [row for row in rows if row["mechanism"] == mechanism]
        y = [row[what] if isinstance(row[what], float) else row[what][0] for row in own]
        x = [row["epsilon"] for row in own]
        axes.loglog(x, y, marker="o", markersize=3, linewidth=1, color=colour, label=mechanism)
    if what != "noise":
        (without,) = (row for row in rows if row["mechanism"] == NONE)
        axes.axhline(without[what][0], color="#555555", linewidth=0.8, linestyle="--")
