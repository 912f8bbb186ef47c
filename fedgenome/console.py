"""What the terminal shows: steps, progress bars, tables. Nothing here decides anything."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from fedgenome.card import epsilon_text
from fedgenome.prices import Part, Prices
from fedgenome.run import Reporter


class Bars(Reporter):
    """Shows named steps and queries as they happen."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._step: TaskID | None = None
        self._bars: dict[str, TaskID] = {}
        self._first: dict[str, tuple[int, float]] = {}  # method → queries answered when first heard of, and when

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
        if not self._progress.console.is_terminal:  # no bars there before the end: a line at 2, 4, 8 … queries
            self._tell(method, done, total)

    def _tell(self, method: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        first, since = self._first.setdefault(method, (done, now))
        if total is not None and first < done < total and done & (done - 1) == 0:
            left = (now - since) / (done - first) * (total - done)
            minutes = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
            self._progress.console.print(f"{method}: {done} of {total} queries answered, about {minutes} more")

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
    shown_as = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    columns = (*shown_as, TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        shown = Bars(progress)
        yield shown
        shown.finish()


_COLUMNS = ("method", "asked", "reserve", "ε alone", "noise", "deviation", "bound", "q", "elements", "ring", "upload")


def table(prices: Prices) -> str:
    """Return the price table of a plan as text."""
    grid = Table(title=f"{prices.study}: {prices.sites} sites, trust model {prices.trust}", title_justify="left")
    for name in _COLUMNS:
        grid.add_column(name, justify="left" if name == "method" else "right")
    for part in prices.parts:
        grid.add_row(*_row(part))
    out = io.StringIO()
    console = Console(file=out, width=110, highlight=False)
    console.print(grid)
    for line in (*_epsilon_lines(prices), *_cost_lines(prices)):
        console.print(line)
    return out.getvalue().rstrip()


def _row(part: Part) -> tuple[str, ...]:
    return (
        part.method,
        str(part.asked) if part.steps == 1 else f"{part.asked} × {part.steps} steps",
        f"+{part.queries - part.asked}",
        _number(part.epsilon),
        _number(part.noise_multiplier),
        _number(part.deviation),
        _number(part.bound),
        f"{part.sampling:g}",
        f"{part.elements:,}",
        f"{part.bits} bit",
        _size(part.site_bytes),
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.2f} MB" if n_bytes >= 1e5 else f"{n_bytes / 1e3:.1f} kB"


def _epsilon_lines(prices: Prices) -> list[str]:
    return [*_guarantee(prices), f"{prices.protects[0].upper()}{prices.protects[1:]}."]


def _guarantee(prices: Prices) -> list[str]:
    if prices.epsilon is None or prices.epsilon_colluding is None:
        return ["No ε: trust model 'none' protects nobody."]
    seeded = ["No ε: a seeded run is a simulation, whose noise anybody can take off. Without its seed:"] * prices.seeded
    parts = ", ".join(f"{method} alone {epsilon_text(epsilon)}" for method, epsilon in prices.by_method.items())
    line = (
        f"ε = {epsilon_text(prices.epsilon)} at δ = {prices.delta:g} for {_neighbours(prices.unit)}, "
        f"retries included ({parts})."
    )
    if prices.trust == "local":
        return [*seeded, line, "Holds whichever parties collude: each site adds all of its noise at home."]
    two = epsilon_text(prices.epsilon_colluding)
    return [*seeded, line, f"Holds with up to {prices.colluders} colluding parties; with two colluding, ε = {two}."]


def _cost_lines(prices: Prices) -> list[str]:
    lines = [
        f"Each site uploads {_size(prices.site_bytes)}. The queries take about {prices.seconds:.0f} s on this "
        "machine, with every role on it; the audit comes on top."
    ]
    lines += [f"Chosen: {line}." for line in prices.choices]
    lines += [f"Warning: {line}." for line in prices.warnings]
    if not prices.accounts:
        return [*lines, "No ledger is kept over runs (engine.ledgers): nothing adds this ε to that of other runs."]
    lines += [f"Each site's ledger would hold ε = {prices.reserves[0]:g} for this run."] if prices.reserves else []
    for site, account in prices.accounts.items():
        before = f"{site}: ε = {account.reserved[0]:g} held before"
        left = "no budget" if account.after is None else f"ε = {account.after[0]:g} left after"
        lines.append(f"{before}, " + (f"refused: {account.refused}" if account.refused else left))
    return lines


def _neighbours(unit: str) -> str:
    words = {"donor": "one donor added or removed", "row": "one row (not a person) added or removed"}
    return words.get(unit, "all data of one site replaced by none")
