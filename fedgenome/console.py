"""What the terminal shows: steps, progress bars, tables. Nothing here decides anything."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from fedgenome.card import epsilon_text
from fedgenome.prepare import Prices
from fedgenome.run import Reporter


class Bars(Reporter):
    """Shows named steps and queries as they happen."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._step: TaskID | None = None
        self._bars: dict[str, TaskID] = {}

    def step(self, text: str) -> None:
        """Begin a named step; the one before is done."""
        self.finish()
        self._step = self._progress.add_task(text, total=1)

    def warn(self, text: str) -> None:
        """Print a warning above the bars."""
        self._progress.console.print(f"Warning: {text}.")

    def queries(self, method: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` queries of a method are answered (None: unknown)."""
        if method not in self._bars:
            self._bars[method] = self._progress.add_task(f"  {method}", total=total)
        self._progress.update(self._bars[method], completed=done)

    def finish(self) -> None:
        """End the current step."""
        if self._step is not None:
            self._progress.update(self._step, completed=1)
        self._step = None


@contextmanager
def reporter(*, silent: bool) -> Iterator[Reporter]:
    """Yield a reporter on standard error."""
    if silent:
        yield Reporter()
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        shown = Bars(progress)
        yield shown
        shown.finish()


def table(prices: Prices) -> str:
    """Return the price table of a plan as text."""
    grid = Table(title=f"{prices.study}: {prices.sites} sites, trust model {prices.trust}", title_justify="left")
    for name in (
        "method",
        "queries, retries included",
        "noise multiplier",
        "sampling",
        "elements",
        "ring",
        "upload per site",
    ):
        grid.add_column(name, justify="left" if name == "method" else "right")
    for part in prices.parts:
        level = "none" if part.noise_multiplier is None else f"{part.noise_multiplier:.4g}"
        level = level if part.epsilon is None else f"ε = {part.epsilon:.4g}"
        size = f"{part.site_bytes / 1e6:.2f} MB" if part.site_bytes >= 1e5 else f"{part.site_bytes / 1e3:.1f} kB"
        row = (
            part.method,
            str(part.queries) if part.steps == 1 else f"{part.queries} × {part.steps} steps",
            level,
            f"{part.sampling:g}",
            f"{part.elements:,}",
            f"{part.bits} bit",
            size,
        )
        grid.add_row(*row)
    out = io.StringIO()
    console = Console(file=out, width=110, highlight=False)
    console.print(grid)
    console.print(_epsilon_line(prices))
    console.print(prices.protects[0].upper() + prices.protects[1:] + ".")
    for line in prices.warnings:
        console.print(f"Warning: {line}.")
    return out.getvalue().rstrip()


def _epsilon_line(prices: Prices) -> str:
    if prices.epsilon is None or prices.epsilon_colluding is None:
        return "No ε: trust model 'none' protects nobody."
    parts = ", ".join(f"{method} alone {epsilon_text(epsilon)}" for method, epsilon in prices.by_method.items())
    line = (
        f"ε = {epsilon_text(prices.epsilon)} at δ = {prices.delta:g} for {_neighbours(prices.unit)}, "
        f"retries included ({parts})."
    )
    if prices.trust == "local":
        return f"{line}\nHolds whichever parties collude: each site adds all of its noise at home."
    return (
        f"{line}\nHolds with up to {prices.colluders} colluding parties; "
        f"with two colluding, ε = {epsilon_text(prices.epsilon_colluding)}."
    )


def _neighbours(unit: str) -> str:
    words = {"donor": "one donor added or removed", "row": "one row (not a person) added or removed"}
    return words.get(unit, "all data of one site replaced by none")
