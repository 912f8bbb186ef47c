"""The command line: ``fedgenome run`` and ``fedgenome plan`` here, groups of commands in their own files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from fedgenome import threads
from fedgenome.cli import app as bundles
from fedgenome.cli import (
    audit,
    compose,
    dealer,
    evaluate,
    ingest,
    keys,
    ledger,
    mask,
    party,
    sample,
    sanitize,
    site,
    status,
    study,
    superlink,
)
from fedgenome.cli.shared import File, Json, one_line_errors
from fedgenome.errors import BudgetRefused

app = typer.Typer(
    name="fedgenome",
    help="Train generators across hospitals under secure aggregation and differential privacy; audit every release.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 released · 3 withheld · 2 bad input · 4 a role failed · 5 budget refused · 130 interrupted",
)

app.add_typer(keys.app, no_args_is_help=True)
app.add_typer(ledger.app, no_args_is_help=True)
app.add_typer(site.app, no_args_is_help=True)
app.add_typer(study.app, no_args_is_help=True)
app.add_typer(bundles.app, no_args_is_help=True)
app.add_typer(party.app, no_args_is_help=True)
app.add_typer(dealer.app, no_args_is_help=True)
app.command()(status.status)
app.command()(compose.compose)
app.command()(superlink.superlink)
app.command()(ingest.ingest)
app.command()(evaluate.evaluate)
app.command()(audit.audit)
app.command()(sample.sample)
app.command()(mask.mask)
app.command()(sanitize.sanitize)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
) -> None:
    """Global options."""
    if version:
        from fedgenome import __version__

        typer.echo(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def run(
    file: File,
    out: Annotated[Path | None, typer.Option(help="folder for run folders, in place of the file's `out`")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the newest unfinished run of this file")] = False,
    on: Annotated[
        Path | None, typer.Option(help="train on the deployment of this file", metavar="DEPLOYMENT.toml")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but the last line")] = False,
    as_json: Json = False,
) -> None:
    """Run an experiment end to end: train, release, audit, report."""
    with one_line_errors(as_json):
        from fedgenome import console, experiment
        from fedgenome import run as runs

        spec = experiment.load(file)
        deployment = None
        if on is not None:
            from fedgenome.deployment.coordinator.training import Deployment, DeploymentConfig

            deployment = Deployment(DeploymentConfig.load(on))
        with console.reporter(silent=quiet or as_json) as reporter:
            outcome = runs.run(spec, file, out or spec.out, resume=resume, reporter=reporter, deployment=deployment)
        typer.echo(json.dumps(outcome.to_json()) if as_json else outcome.last_line if quiet else outcome.text)
        raise typer.Exit(outcome.exit_code)


@app.command()
def plan(file: File, as_json: Json = False) -> None:
    """Price an experiment before anything runs: ε, noise, queries, bytes, time, and what of the budget remains."""
    with one_line_errors(as_json):
        from fedgenome import console, experiment
        from fedgenome import run as runs

        prices = runs.price(experiment.load(file))
        typer.echo(json.dumps(prices.to_json()) if as_json else console.table(prices))
        if prices.refused and as_json:
            raise typer.Exit(BudgetRefused.exit_code)
        if prices.refused:
            raise BudgetRefused(prices.refused)


@app.command()
def deal(
    file: File,
    out: Annotated[Path, typer.Argument(help="folder for one .h5ad a site, and the deal", metavar="OUT")],
    as_json: Json = False,
) -> None:
    """Deal a public cohort out to the hospitals of a demonstration, as `fedgenome run` would."""
    with one_line_errors(as_json):
        from fedgenome import experiment
        from fedgenome.deployment.consortium import deal as dealing

        made = dealing.deal(experiment.load(file), out)
        told = {site: str(path) for site, path in made.items()}
        text = "\n".join(f"{site:15} {path}" for site, path in told.items())
        typer.echo(json.dumps(told) if as_json else f"{text}\n{'deal':15} {out / dealing.DEAL}")


def main() -> None:
    """Entry point."""
    threads.limit()
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # nothing about a run leaves the machine unasked
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    app()
