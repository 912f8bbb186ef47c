"""Draw docs/figures from the committed results (``--check``: only compare).

Run: ``python -m experiments.figures``.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

HERE = Path(__file__).parent
FOLDER = HERE.parent / "docs" / "figures"
_COLOURS = ("#1b6ca8", "#4f9bd0", "#9cc9e8", "#c8553d", "#222222", "#8a8a8a")


def main() -> None:
    """Write every figure, or fail if one is out of date."""
    path, new = FOLDER / "brca_pam50.svg", brca_pam50()
    if "--check" in sys.argv:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        sys.exit(0 if new == old else f"{path.name}: out of date; run python -m experiments.figures")
    FOLDER.mkdir(exist_ok=True)
    path.write_text(new, encoding="utf-8")


def brca_pam50() -> str:
    """Return the figure of :mod:`experiments.brca_pam50.run` as SVG: accuracy with intervals, by ε and arm."""
    rows = json.loads((HERE / "brca_pam50" / "results.json").read_text(encoding="utf-8"))["rows"]
    private = [row for row in rows if row["epsilon"] != "none"]
    arms, epsilons = list(dict.fromkeys(row["trained"] for row in private)), _values(private, "epsilon")
    # The same bytes on every run, and text that is text.
    with mpl.rc_context({"svg.hashsalt": "fedgenome", "svg.fonttype": "none", "font.size": 9.0}):
        figure = Figure(figsize=(7.0, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for k, (arm, colour) in enumerate(zip(arms, _COLOURS, strict=False)):
            own = [row for row in private if row["trained"] == arm]
            x = [epsilons.index(row["epsilon"]) + (k - (len(arms) - 1) / 2) * 0.13 for row in own]
            y = [row["accuracy"] for row in own]
            reach = [
                [row["accuracy"] - row["95 % low"] for row in own],
                [row["95 % high"] - row["accuracy"] for row in own],
            ]
            axes.errorbar(x, y, yerr=reach, fmt="o", color=colour, capsize=2, markersize=4, label=arm)
        for row in rows:
            if row["epsilon"] == "none":
                axes.axhline(row["accuracy"], color="#555555", linewidth=0.8, linestyle="--")
                axes.text(-0.48, row["accuracy"] + 0.005, row["trained"], fontsize=8)
        axes.set_xticks(range(len(epsilons)), [f"ε = {epsilon}" for epsilon in epsilons])
        axes.set_ylabel("accuracy on test patients (95 % interval)")
        axes.set_xlim(-0.5, len(epsilons) - 0.5)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right center", frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _values(rows: list[dict[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(row[name] for row in rows))


if __name__ == "__main__":
    main()
