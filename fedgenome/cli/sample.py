"""``fedgenome sample``: new rows from a release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import Json, one_line_errors
from fedgenome.errors import SpecError


def sample(
    folder: Annotated[Path, typer.Argument(help="a release folder", metavar="RELEASE", show_default=False)],
    out: Annotated[Path, typer.Option(help="the h5ad to write, in place of one that is there")],
    rows: Annotated[int | None, typer.Option("-n", help="rows in all; absent: those that --label names")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="rows of a label, e.g. Basal=200; the rest by the released shares")
    ] = None,
    method: Annotated[str | None, typer.Option(help="a method of the release; absent: its own generator")] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same rows")] = 0,
    counts: Annotated[bool, typer.Option("--counts", help="whole counts, of a study of counts (log1p to 1e4)")] = False,
    size: Annotated[float, typer.Option(help="with --counts: total counts of a row; public")] = 1e4,
    dispersion: Annotated[
        float, typer.Option(help="with --counts: of the negative binomial, public; 0: Poisson")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Draw new rows from a release, as many as wanted: it costs no privacy, as it reads nobody's data."""
    with one_line_errors(as_json):
        from fedgenome import sampling

        asked = _asked(label or [])
        wish = sampling.Wish(
            rows=sum(asked.values()) if rows is None else rows,
            labels=asked,
            seed=seed,
            method=method,
            counts=sampling.Counts(size=size, dispersion=dispersion) if counts else None,
        )
        made = sampling.sample(folder, wish)
        made.write(out)
        told = {"out": str(out), "rows": made.of_labels(), **made.marks}
        shown = ", ".join(f"{name} {n:,}" for name, n in made.of_labels().items() if n)
        typer.echo(json.dumps(told) if as_json else f"{out}: {shown}\n{made.marks['guarantee']}")


def _asked(given: list[str]) -> dict[str, int]:
    """Return rows by label of ``NAME=ROWS`` arguments; a name may hold '='."""
    found: dict[str, int] = {}
    for text in given:
        name, equals, number = text.rpartition("=")
        if not (equals and name and number.isascii() and number.isdigit()):
            raise SpecError(f"--label: expected NAME=ROWS, such as Basal=200, got {text!r}")
        if name in found:
            raise SpecError(f"--label: expected every label once, got {name!r} twice")
        found[name] = int(number)
    return found
