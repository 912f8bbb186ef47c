"""Figure 2: how far sanitized rows lie, truncation and noise apart, and how many are recognised, a column a cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.sanitized_rows.distances import EACH, EPSILONS, EQUAL, KEPT, METRIC, RANGE

Row = Mapping[str, Any]

_SHOWN = 50  # K where mechanisms are compared
_LABELS = (
    "distance, metric noise\n(dashed: truncation alone)",
    f"noise alone, K = {_SHOWN}",
    f"share linked, K = {_SHOWN}\n(dotted: chance)",
)


def draw(rows: Sequence[Row], colours: Sequence[str]) -> Figure:
    """Return panels by ε in units of the public range: distances by K, noise and linkage by mechanism."""
    shown = [row for row in rows if row.get("scale") == RANGE]
    cohorts = list(dict.fromkeys(row["cohort"] for row in shown))
    figure = Figure(figsize=(2.6 * len(cohorts) + 1.8, 6.6), layout="constrained")
    grid = figure.subplots(len(_LABELS), len(cohorts), squeeze=False, sharex=True)
    for i, cohort in enumerate(cohorts):
        own = [row for row in shown if row["cohort"] == cohort]
        fixed = [row for row in own if row["K"] == _SHOWN]
        lengths, noise, linked = (line[i] for line in grid)
        _lengths(lengths, own, colours)
        _mechanisms(noise, fixed, "noise", colours)
        _mechanisms(linked, fixed, "linked by K", colours)
        linked.axhline(fixed[0]["chance"], color="#555555", linewidth=0.8, linestyle=":")
        linked.set(yscale="linear", ylim=(-0.03, 1.03), xlabel="ε a unit of distance")
        _ticks(linked)
        lengths.set_title(cohort, fontsize=9)
    for line, label in zip(grid, _LABELS, strict=True):
        line[0].set_ylabel(label)
        line[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False, fontsize=8)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _lengths(axes: Axes, rows: Sequence[Row], colours: Sequence[str]) -> None:
    for colour, keep in zip(colours, KEPT, strict=False):
        own = [row for row in rows if row["K"] == keep and row["mechanism"] == METRIC]
        _line(axes, own, "distance", f"K = {keep}", colour)
        if own and own[0]["truncation"] > 0:
            axes.axhline(own[0]["truncation"], color=colour, linewidth=0.8, linestyle="--")


def _mechanisms(axes: Axes, rows: Sequence[Row], what: str, colours: Sequence[str]) -> None:
    for colour, mechanism in zip(colours[::2], (METRIC, EQUAL, EACH), strict=False):
        _line(axes, [row for row in rows if row["mechanism"] == mechanism], what, mechanism, colour)


def _line(axes: Axes, rows: Sequence[Row], what: str, label: str, colour: str) -> None:
    y = [row[what][0] if isinstance(row[what], list) else row[what] for row in rows]
    x = [row["epsilon"] for row in rows]
    axes.loglog(x, y, marker="o", markersize=3, linewidth=1, color=colour, label=label)


def _ticks(axes: Axes) -> None:
    """Name the ε there are, and no others."""
    every = [epsilon for epsilon in EPSILONS if epsilon is not None]
    axes.set_xticks(every, [f"{epsilon:g}" for epsilon in every])
    axes.minorticks_off()
