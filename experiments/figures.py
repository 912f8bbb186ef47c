"""Draw docs/figures from the committed results (``--check``: only compare).

Run: ``python -m experiments.figures``.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from experiments.afml import figure as masked
from experiments.deeptype import figure as studied
from experiments.memorization import figure as memorized
from experiments.sanitized_rows import figure as sanitized
from experiments.synthesis import arms, chosen
from experiments.synthesis.study import REAL

HERE = Path(__file__).parent
FOLDER = HERE.parent / "docs" / "figures"
_COLOURS = ("#1b6ca8", "#4f9bd0", "#9cc9e8", "#c8553d", "#222222", "#8a8a8a")
Row = Mapping[str, Any]


def main() -> None:
    """Write every figure, or fail if one is out of date."""
    for name, drawn in FIGURES.items():
        if not results(name).exists():  # not measured yet
            continue
        path, new = FOLDER / f"{name}.svg", drawn()
        if "--check" not in sys.argv:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(new, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != new:
            sys.exit(f"{path.name}: out of date; run python -m experiments.figures")


def brca_pam50() -> str:
    """Return the figure of :mod:`experiments.brca_pam50.run`: accuracy by ε and trust model."""
    rows = _rows("brca_pam50")
    private, open_ = _by_price(rows)
    return _svg(private, open_, "trained", list(dict.fromkeys(row["trained"] for row in private)))


def synthesis() -> str:
    """Return the figure of :mod:`experiments.synthesis.run`: accuracy by ε of what was chosen and of the recipe."""
    private, open_ = _by_price(_rows("synthesis"))
    best = [{**row, "fitted": "chosen"} for row in private if row["fitted"] == chosen.at(float(row["epsilon"]))]
    shown = ["chosen", chosen.SHARING, arms.PAID, arms.UNPAID, "WGAN-GP", arms.MAJORITY]
    dashed = [row for row in open_ if row["fitted"] == REAL]
    return _svg(best + private, dashed, "fitted", shown)


def memorization() -> str:
    """Return the figure of :mod:`experiments.memorization.run`: what each vector sees, by copies."""
    with _same():
        return _text(memorized.draw(_rows("memorization"), (_COLOURS[0], *_COLOURS[3:])))


def afml() -> str:
    """Return the figure of :mod:`experiments.afml.run`: who is found against what is kept."""
    with _same():
        return _text(masked.draw(_rows("afml"), (*_COLOURS, "#7a9a3a")))


def deeptype() -> str:
    """Return the figure of :mod:`experiments.deeptype.run`: accuracy against who is told to be a member."""
    with _same():
        rows = [row for row in _rows("deeptype") if "family" in row]
        return _text(studied.draw(rows, ("#222222", _COLOURS[3], _COLOURS[0], "#7a9a3a", "#c9a227", "#8a5a9a")))


def sanitized_rows() -> str:
    """Return the figure of :mod:`experiments.sanitized_rows.run`: how far rows lie, and who is recognised."""
    with _same():
        return _text(sanitized.draw(_rows("sanitized_rows"), (_COLOURS[0], "#7a9a3a", _COLOURS[3], *_COLOURS[4:])))


FIGURES: Mapping[str, Callable[[], str]] = {
    "afml": afml,
    "brca_pam50": brca_pam50,
    "deeptype": deeptype,
    "sanitized_rows": sanitized_rows,
    "memorization": memorization,
    "synthesis": synthesis,
}


def results(experiment: str) -> Path:
    """Return where an experiment's results are, once it was run."""
    return HERE / experiment / "results.json"


def _rows(experiment: str) -> list[Row]:
    return list(json.loads(results(experiment).read_text(encoding="utf-8"))["rows"])


def _by_price(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows that have an ε, and those without privacy."""
    private = [row for row in rows if row["epsilon"] != "none"]
    return private, [row for row in rows if row["epsilon"] == "none"]


def _svg(private: Sequence[Row], dashed: Sequence[Row], key: str, shown: Sequence[str]) -> str:
    """Return accuracies with intervals, a group of points for each ε, and lines across for ``dashed``."""
    epsilons = list(dict.fromkeys(row["epsilon"] for row in private))
    with _same():
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for k, (arm, colour) in enumerate(zip(shown, _COLOURS, strict=False)):
            own = [row for row in private if row[key] == arm]
            x = [epsilons.index(row["epsilon"]) + (k - (len(shown) - 1) / 2) * 0.13 for row in own]
            y = [row["accuracy"] for row in own]
            reach = [
                [row["accuracy"] - row["95 % low"] for row in own],
                [row["95 % high"] - row["accuracy"] for row in own],
            ]
            axes.errorbar(x, y, yerr=reach, fmt="o", color=colour, capsize=2, markersize=4, label=arm)
        for row in dashed:
            axes.axhline(row["accuracy"], color="#555555", linewidth=0.8, linestyle="--")
            axes.text(-0.48, row["accuracy"] + 0.005, row[key], fontsize=8)
        axes.set_xticks(range(len(epsilons)), [f"ε = {epsilon}" for epsilon in epsilons])
        axes.set_ylabel("accuracy on test patients (95 % interval)")
        axes.set_xlim(-0.5, len(epsilons) - 0.5)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right center", frameon=False)
        return _text(figure)


def _same() -> AbstractContextManager[None]:
    """Make the same bytes on every run, and text that is text."""
    return mpl.rc_context({"svg.hashsalt": "fedgenome", "svg.fonttype": "none", "font.size": 9.0})


def _text(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


if __name__ == "__main__":
    main()
