"""``fedgenome party``: a compute party on a machine of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import one_line_errors

app = typer.Typer(name="party", help="A compute party: adds the sites' shares, with two others, and opens only sums.")

Config = Annotated[Path, typer.Argument(help="the party's configuration", metavar="PARTY.toml", show_default=False)]


@app.command("serve")
def serve(file: Config) -> None:
    """Answer the party's relay until it is told to end (SIGTERM)."""
    with one_line_errors(as_json=False):
        from fedgenome.deployment import logs
        from fedgenome.deployment.compute import daemon
        from fedgenome.deployment.compute.party import PartyConfig, PartyDaemon

        config, log = PartyConfig.load(file), logs.install(sys.stderr)
        with PartyDaemon(config, log) as party:
            daemon.serve(party, config, log)


@app.command("health")
def health(file: Config) -> None:
    """Ask the running daemon who it is: exit code 0 if it answers."""
    with one_line_errors(as_json=False):
        from fedgenome.deployment.compute import daemon
        from fedgenome.deployment.compute.party import PartyConfig

        typer.echo(daemon.health(PartyConfig.load(file)))
