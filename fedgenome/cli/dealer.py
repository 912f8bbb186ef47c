"""``fedgenome dealer``: the dealer on a machine of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import one_line_errors

app = typer.Typer(name="dealer", help="The dealer: gives the parties what comparisons need; it colludes with nobody.")

Config = Annotated[Path, typer.Argument(help="the dealer's configuration", metavar="DEALER.toml", show_default=False)]


@app.command("serve")
def serve(file: Config) -> None:
    """Answer the dealer's relay until it is told to end (SIGTERM)."""
    with one_line_errors(as_json=False):
        from fedgenome.deployment import logs
        from fedgenome.deployment.compute import daemon
        from fedgenome.deployment.compute.dealer import DealerConfig, DealerDaemon

        config, log = DealerConfig.load(file), logs.install(sys.stderr)
        with DealerDaemon(config, log) as dealer:
            daemon.serve(dealer, config, log)


@app.command("health")
def health(file: Config) -> None:
    """Ask the running daemon who it is: exit code 0 if it answers."""
    with one_line_errors(as_json=False):
        from fedgenome.deployment.compute import daemon
        from fedgenome.deployment.compute.dealer import DealerConfig

        typer.echo(daemon.health(DealerConfig.load(file)))
