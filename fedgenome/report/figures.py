"""Figures as plain plotly JSON: no plotly import, colours by name so that they follow the reader's scheme."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedgenome.query import Array
from fedgenome.report.html import Child, Html, data_block, tag
from fedgenome.report.inputs import Comparison, Curve

POINTS = 1500  # most points of one panel: what a phone draws without stutter
_COLOURS = 10
_SYMBOLS = {
    "circle": "●",
    "diamond": "◆",
    "square": "■",
    "triangle-up": "▲",
    "x": "✖",
    "star": "★",
    "triangle-down": "▼",
}
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_APART = 1.03  # of the marks of two attacks at one rate
_MARGIN = 0.02  # decades beyond the ends of a logarithmic axis, so that lines on them are seen
_LINES = ("solid", "dash", "dot", "dashdot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One plot.

    Attributes:
        name: Its anchor in the page.
        data: Plotly traces; a colour ``--c0`` … ``--c9`` is a CSS variable.
        layout: Plotly layout.
        caption: What is seen, in words, under the plot.
        alternative: What it shows, for those who do not see it.
    """

    name: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    caption: str
    alternative: str

    def to_html(self, *details: Child) -> Html:
        """Return the figure, with ``details`` (the numbers, say) after its caption."""
        plot = tag("div", id=self.name, class_="plot", role="img", aria_label=self.alternative)
        block = data_block(f"{self.name}-data", {"data": self.data, "layout": self.layout})
        return tag("figure", plot, tag("figcaption", self.caption), *details, block)


def training(name: str, curves: Sequence[Curve]) -> Figure:
    """Return the plot of curves that share their axes."""
    notes = "; ".join(dict.fromkeys(curve.note for curve in curves if curve.note))
    first = curves[0]
    ends = ", ".join(f"{c.name} from {_short(c.y[0])} to {_short(c.y[-1])}" for c in curves if len(c.y))
    names = ", ".join(curve.name for curve in curves)
    caption = f"{names}: {first.y_title} by {first.x_title}" + (f"; {notes}." if notes else ".")
    data = [_line(k, curve.name, curve.x, curve.y) for k, curve in enumerate(curves)]
    return Figure(
        name=name,
        data=data,
        layout=_axes(first.x_title, first.y_title) | {"showlegend": len(curves) > 1},
        caption=caption,
        alternative=f"{caption} {ends}",
    )


def roc(name: str, attacks: Sequence[Mapping[str, Any]], least: float) -> Figure:
    """Return ROC curves of ``Attack.to_json()`` beside the line of chance, both axes logarithmic.

    Args:
        name: Its anchor in the page.
        attacks: The attacks.
        least: The smallest false-alarm rate that the controls support: nothing below it is drawn.
    """
    ends = [least, 1.0]
    chance = {"x": ends, "y": ends, "name": "chance", "mode": "lines", "line": {"color": "--quiet", "dash": "dot"}}
    drawn = [each for k, a in enumerate(attacks) for each in _recognised(k, a, least, _APART ** (k - len(attacks) / 2))]
    ticks = [rate for rate in _TICKS if rate >= least]
    axis = {"type": "log", "range": _numbers([math.log10(least) - _MARGIN, _MARGIN]), "tickvals": ticks}
    layout = _axes("false alarms", "hits") | {"showlegend": True}
    for each in ("xaxis", "yaxis"):
        layout[each] |= axis | {"ticktext": [f"{rate:.3g}" for rate in ticks], "zeroline": False}
    found = ", ".join(f"{a['name']} AUC {a['auc']['estimate']:.3f}" for a in attacks)
    caption = (
        "Attack curves on logarithmic axes: members recognised (hits) against controls taken for members (false "
        f"alarms), from {least:.2g}, the smallest rate that the controls support. On the dotted line an attacker does "
        "no better than a coin. Marks: hits at stated rates, side by side, with intervals."
    )
    return Figure(name=name, data=[chance, *drawn], layout=layout, caption=caption, alternative=f"{caption} {found}.")


def _recognised(k: int, attack: Mapping[str, Any], least: float, aside: float) -> list[dict[str, Any]]:
    """Return an attack's curve and its marks, a bit aside so that those of several are seen.

    What a logarithm does not have, or nobody can claim, is a gap.
    """
    found = zip(attack["roc"]["false_alarms"], attack["roc"]["hits"], strict=True)
    curve = [(x, y) for x, y in found if x >= least]
    line = _line(k, attack["name"], [x for x, _ in curve], [y or math.nan for _, y in curve])
    seen = [(each["false_alarms"], each["hits"]) for each in attack["rates"] if each["hits"] is not None]
    seen = [(rate, hits) for rate, hits in seen if hits["estimate"] > 0]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": _numbers([hits["high"] - hits["estimate"] for _, hits in seen]),
        "arrayminus": _numbers([hits["estimate"] - max(hits["low"], least / 10) for _, hits in seen]),
        "color": _colour(k),
    }
    marks = {
        "x": _numbers([rate * aside for rate, _ in seen]),
        "y": _numbers([hits["estimate"] for _, hits in seen]),
        "name": line["name"],
        "mode": "markers",
        "marker": {"color": _colour(k), "symbol": _symbol(k), "size": 9},
        "error_y": bars,
        "showlegend": False,
    }
    return [line, marks]


def projection(name: str, shown: Comparison) -> tuple[Figure, Figure]:
    """Return (real, synthetic) on the first two principal components of the real rows, same axes."""
    real, made = _filled(shown.real), _filled(shown.synthetic)
    centre, axes, shares = principal_components(real)
    spots = [(rows - centre) @ axes.T for rows in (real, made)]
    both = np.concatenate([np.zeros((1, 2)), *spots])
    low, high = both.min(axis=0) - 0.5, both.max(axis=0) + 0.5
    layout = _axes(*(f"component {k + 1} ({share:.0%})" for k, share in enumerate(shares)))
    for axis, k in (("xaxis", 0), ("yaxis", 1)):
        layout[axis] |= {"range": _numbers([low[k], high[k]]), "zeroline": False}
    groups = ((real, "real", spots[0], shown.real_label), (made, "synthetic", spots[1], shown.synthetic_label))
    return tuple(  # type: ignore[return-value]
        _scatter(f"{name}-{kind}", kind, spot, label, shown, layout) for _, kind, spot, label in groups
    )


def legend(labels: Sequence[str]) -> Html:
    """Return the marks of the labels in :func:`projection`: once for both of its plots."""
    marks = [tag("span", _SYMBOLS[_symbol(k)], class_=_colour(k)[2:], aria_hidden="true") for k in range(len(labels))]
    return tag("ul", *(tag("li", mark, text) for mark, text in zip(marks, labels, strict=True)), class_="legend")


def principal_components(x: Array) -> tuple[Array, Array, Array]:
    """Return centre (genes,), the first two axes (2, genes) and their shares of the variance (2,).

    Signs are fixed (the largest loading is positive); components that do not exist are zero.
    """
    centre = x.mean(axis=0) if len(x) else np.zeros(x.shape[1])
    _, values, axes = np.linalg.svd(x - centre, full_matrices=False)
    axes = np.concatenate([axes[:2], np.zeros((2, x.shape[1]))])[:2]
    signs = np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])
    power = np.concatenate([values**2, np.zeros(2)])
    return centre, axes * np.where(signs == 0, 1, signs)[:, None], power[:2] / max(float(power.sum()), 1e-30)


def gene_means(name: str, shown: Comparison) -> Figure:
    """Return each gene's mean among real and among synthetic rows, and the line of equality."""
    real, made = (_filled(rows).mean(axis=0) if len(rows) else np.zeros(len(shown.genes)) for rows in _pair(shown))
    ends = _numbers([min(real.min(), made.min()), max(real.max(), made.max())])
    dots = {
        "x": _numbers(real),
        "y": _numbers(made),
        "text": [_plain(gene) for gene in shown.genes],
        "mode": "markers",
        "name": "genes",
        "marker": {"color": "--c0", "size": 7, "opacity": 0.8},
        "hovertemplate": "%{text}<br>real %{x}<br>synthetic %{y}<extra></extra>",
    }
    equal = {"x": ends, "y": ends, "mode": "lines", "name": "equal", "line": {"color": "--quiet", "dash": "dot"}}
    error = float(np.abs(real - made).mean())
    caption = f"Mean of each gene. On the dotted line both agree; they differ by {error:.3g} on average."
    layout = _axes("mean of real rows", "mean of synthetic rows")
    return Figure(name=name, data=[equal, dots], layout=layout, caption=caption, alternative=caption)


def accuracies(name: str, scores: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure:
    """Return accuracies with intervals of (trained on, ``Score.to_json()``), the best place at the right."""
    found = [score["accuracy"] for _, score in scores]
    places = [f"{_plain(who)}<br>{_plain(_brief(score))}" for who, score in scores]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": _numbers([f["high"] - f["estimate"] for f in found]),
        "arrayminus": _numbers([f["estimate"] - f["low"] for f in found]),
        "color": "--quiet",
    }
    dots = {
        "x": _numbers([f["estimate"] for f in found]),
        "y": places,
        "error_x": bars,
        "mode": "markers",
        "marker": {"color": "--c0", "size": 10},
        "hovertemplate": "%{y}<br>accuracy %{x}<extra></extra>",
    }
    layout = {"xaxis": {"title": {"text": "accuracy on real controls"}, "range": [0, 1.02]}}
    layout["yaxis"] = {"autorange": "reversed", "type": "category"}
    caption = "Accuracy on real controls with 95 % intervals."
    told = "; ".join(f"{who}, {_brief(score)}: {score['accuracy']['estimate']:.2f}" for who, score in scores)
    return Figure(name=name, data=[dots], layout=layout, caption=caption, alternative=f"{caption} {told}.")


def _brief(score: Mapping[str, Any]) -> str:
    return "" if score["trained_on"] == "majority" else str(score["classifier"])


def _scatter(name: str, kind: str, spots: Array, label: Array, shown: Comparison, layout: dict[str, Any]) -> Figure:
    kept = np.linspace(0, max(len(spots) - 1, 0), min(len(spots), POINTS)).astype(int)
    spots, label = spots[kept], label[kept]
    data = []
    for code, text in enumerate(shown.labels):
        mine = spots[label == code]
        marker = {"color": _colour(code), "symbol": _symbol(code), "size": 6, "opacity": 0.75}
        where = {"x": _numbers(mine[:, 0]), "y": _numbers(mine[:, 1])}
        data.append({**where, "name": _plain(text), "mode": "markers", "marker": marker})
    counts = ", ".join(f"{text} {int((label == code).sum())}" for code, text in enumerate(shown.labels))
    caption = f"{kind.capitalize()} rows by label ({len(spots):,} shown)."
    told = f"{caption} Projected on the principal components of the real rows. Rows by label: {counts}."
    return Figure(name=name, data=data, layout=layout, caption=caption, alternative=told)


def _line(k: int, name: str, x: Array | Sequence[float], y: Array | Sequence[float]) -> dict[str, Any]:
    stroke = {"color": _colour(k), "dash": _LINES[k % len(_LINES)], "width": 2}
    return {"x": _numbers(x), "y": _numbers(y), "name": _plain(name), "mode": "lines", "line": stroke}


def _axes(x: str, y: str) -> dict[str, Any]:
    return {"xaxis": {"title": {"text": _plain(x)}}, "yaxis": {"title": {"text": _plain(y)}}}


def _plain(text: str) -> str:
    """Keep plotly, which reads a few HTML tags in its texts, from reading any in ours."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _symbol(k: int) -> str:
    return tuple(_SYMBOLS)[k % len(_SYMBOLS)]


def _colour(k: int) -> str:
    return f"--c{k % _COLOURS}"


def _pair(shown: Comparison) -> tuple[Array, Array]:
    return shown.real, shown.synthetic


def _filled(x: Array) -> Array:
    """Return float64 rows with what was not measured set to the gene's mean."""
    x = np.asarray(x, np.float64)
    known = np.isfinite(x)
    total = np.where(known, x, 0.0).sum(axis=0)
    return np.where(known, x, total / np.maximum(known.sum(axis=0), 1))


def _numbers(values: Array | Sequence[float]) -> list[float | None]:
    """Four significant digits; what is not a number is a gap."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in np.asarray(values, float).tolist()]


def _short(value: float) -> str:
    return f"{float(value):.3g}"
