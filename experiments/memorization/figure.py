"""The figure: what each vector sees of canaries planted ever more often, a line an architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = Mapping[str, Any]

PANELS = {
    "exposure": "exposure (bits)",
    "said": "share said",
    "bits less": "bits a base less",
    "AUC": "AUC",
    "score": "worst-case score",
}


def draw(rows: Sequence[Row], colours: Sequence[str]) -> Figure:
    """Return panels of data by vector, of small models trained from nothing, at the last epoch, with intervals."""
    shown = [row for row in rows if (row.get("trained"), row.get("capacity")) == ("scratch", "small")]
    shown = [row for row in shown if row["epoch"] == max(each["epoch"] for each in shown) and row["copies"] != "people"]
    kinds = list(dict.fromkeys(row["data"] for row in shown))
    figure = Figure(figsize=(10.0, 2.1 * len(kinds) + 0.5), layout="constrained")
    grid = figure.subplots(len(kinds), len(PANELS), squeeze=False, sharex=True)
    for line, kind in zip(grid, kinds, strict=True):
        for axes, (what, label) in zip(line, PANELS.items(), strict=True):
            _panel(axes, [row for row in shown if row["data"] == kind], what, colours)
            axes.set_title(f"{kind}: {label}", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("copies")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _panel(axes: Axes, rows: Sequence[Row], what: str, colours: Sequence[str]) -> None:
    copies = sorted({row["copies"] for row in rows if row.get(what) is not None})
    models = list(dict.fromkeys(row["model"] for row in rows))
    for k, (model, colour) in enumerate(zip(models, colours, strict=False)):
        own = [row for row in rows if row["model"] == model and row.get(what) is not None]
        x = [copies.index(row["copies"]) + (k - (len(models) - 1) / 2) * 0.08 for row in own]
        y, low, high = zip(*(row[what] for row in own), strict=True)
        reach = [[a - b for a, b in zip(y, low, strict=True)], [b - a for a, b in zip(y, high, strict=True)]]
        axes.errorbar(
            x, y, yerr=reach, marker="o", markersize=3, linewidth=1, elinewidth=0.6, color=colour, label=model
        )
    axes.set_xticks(range(len(copies)), [str(each) for each in copies], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
