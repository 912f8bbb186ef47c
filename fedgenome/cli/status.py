"""``fedgenome status``: where a run on a deployment stands."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import Json, one_line_errors

_GLANCE_SECONDS = 1.0


def status(
    folder: Annotated[Path, typer.Argument(help="a run's folder, or its job's", metavar="FOLDER", show_default=False)],
    watch: Annotated[bool, typer.Option("--watch", help="show it until the run has ended")] = False,
    as_json: Json = False,
) -> None:
    """Tell where a run on a deployment stands: queries, sites, parties, what its plan costs. Nobody is asked."""
    with one_line_errors(as_json):
        from rich.live import Live

        from fedgenome.deployment.coordinator.standing import Standing, dumped, text

        told = Standing.of(folder)
        if as_json or not watch:
            typer.echo(dumped(told) if as_json else text(told))
            while watch and not told.over:
                time.sleep(_GLANCE_SECONDS)
                if (now := Standing.of(folder)) != told:
                    told = now
                    typer.echo(dumped(told))
            return
        with Live(told.shown()) as live:
            while not told.over:
                time.sleep(_GLANCE_SECONDS)
                told = Standing.of(folder)
                live.update(told.shown())
