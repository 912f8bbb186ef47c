"""The command line: ``fedgenome run``, ``fedgenome plan``, ``fedgenome ledger`` and ``fedgenome keys``."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fedgenome import threads
from fedgenome.errors import BudgetRefused, FedgenomeError

app = typer.Typer(
    name="fedgenome",
    help="Train generators across hospitals under secure aggregation and differential privacy; audit every release.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 released · 3 withheld · 2 bad input · 4 a role failed · 5 budget refused · 130 interrupted",
)

keys = typer.Typer(name="keys", help="Identities of sites, parties and dealer, and the roster of their public keys.")
app.add_typer(keys, no_args_is_help=True)

ledger = typer.Typer(name="ledger", help="A site's ledger: what was reserved, spent and is left; whether it holds.")
app.add_typer(ledger, no_args_is_help=True)

LedgerFile = Annotated[Path, typer.Argument(help="a site's ledger", metavar="LEDGER.jsonl", show_default=False)]
KeyFile = Annotated[Path, typer.Argument(help="a private key in PEM", metavar="FILE.pem", show_default=False)]
File = Annotated[Path, typer.Argument(help="the experiment file", metavar="EXPERIMENT.toml", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")]


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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print nothing but the last line")] = False,
    as_json: Json = False,
) -> None:
    """Run an experiment end to end: train, release, audit, report."""
    with _one_line_errors(as_json):
        from fedgenome import console, experiment
        from fedgenome import run as runs

        spec = experiment.load(file)
        with console.reporter(silent=quiet or as_json) as reporter:
            outcome = runs.run(spec, file, out or spec.out, resume=resume, reporter=reporter)
        typer.echo(json.dumps(outcome.to_json()) if as_json else outcome.last_line if quiet else outcome.text)
        raise typer.Exit(outcome.exit_code)


@app.command()
def plan(file: File, as_json: Json = False) -> None:
    """Price an experiment before anything runs: ε, noise, queries, bytes, time, and what of the budget remains."""
    with _one_line_errors(as_json):
        from fedgenome import console, experiment
        from fedgenome import run as runs

        prices = runs.price(experiment.load(file))
        typer.echo(json.dumps(prices.to_json()) if as_json else console.table(prices))
        if prices.refused and as_json:
            raise typer.Exit(BudgetRefused.exit_code)
        if prices.refused:
            raise BudgetRefused(prices.refused)


@keys.command("new")
def keys_new(file: KeyFile, as_json: Json = False) -> None:
    """Make an identity: the private key goes to FILE (mode 600), the public one is printed."""
    with _one_line_errors(as_json):
        from fedgenome.secure.identity import Identity

        identity = Identity.generate()
        identity.save(file)
        typer.echo(json.dumps({"public": identity.public}) if as_json else identity.public)


@keys.command("show")
def keys_show(file: KeyFile, as_json: Json = False) -> None:
    """Print the public key of an identity file, and nothing else of it."""
    with _one_line_errors(as_json):
        from fedgenome.secure.identity import Identity

        public = Identity.load(file).public
        typer.echo(json.dumps({"public": public}) if as_json else public)


@keys.command("roster")
def keys_roster(
    file: Annotated[Path, typer.Argument(help="the roster file", metavar="ROSTER.toml", show_default=False)],
    site: Annotated[list[str] | None, typer.Option(help="NAME=KEY of a site; once for each")] = None,
    party: Annotated[list[str] | None, typer.Option(help="public key of a party; three times, in order")] = None,
    dealer: Annotated[str, typer.Option(help="public key of the dealer, where there is one")] = "",
    as_json: Json = False,
) -> None:
    """Check and print a roster; with --site and --party, write a new one first. Compare the digest by telephone."""
    with _one_line_errors(as_json):
        from fedgenome.secure.roster import RosterFile

        if site or party or dealer:
            named = [(name, key) for name, _, key in (text.partition("=") for text in site or ())]
            RosterFile(sites=tuple(named), parties=tuple(party or ()), dealer=dealer).save(file)
        roster = RosterFile.load(file)
        if as_json:
            typer.echo(json.dumps({"roles": roster.roles, "digest": roster.digest}))
        else:
            typer.echo("\n".join(f"{role:7} {name:15} {key}" for role, name, key in roster.roles))
            typer.echo(f"digest  {'':15} {roster.digest}")


@ledger.command("show")
def ledger_show(file: LedgerFile, as_json: Json = False) -> None:
    """Tell every plan of a ledger: its price, whole and by scope, what was charged, and what of the budget is left."""
    with _one_line_errors(as_json):
        from fedgenome import ledgers

        found = ledgers.read(file)
        typer.echo(json.dumps(found.to_json()) if as_json else ledgers.text(found))


@ledger.command("verify")
def ledger_verify(
    file: LedgerFile,
    head: Annotated[str, typer.Option(help="hash of a line, kept elsewhere: the chain must hold it")] = "",
    signer: Annotated[str, typer.Option(help="public key that must have signed every reservation and close")] = "",
    as_json: Json = False,
) -> None:
    """Check a ledger line by line: chain, rules, prices, signatures. The first fault is one line and exit code 2."""
    with _one_line_errors(as_json):
        from fedgenome import ledgers

        found = ledgers.read(file, head=head, signer=signer)
        typer.echo(json.dumps(found.to_json()) if as_json else "\n".join(ledgers.state(found)))


@contextmanager
def _one_line_errors(as_json: bool) -> Iterator[None]:
    """Turn every error of ours into one line and its exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        yield
    except FedgenomeError as fault:
        text = " ".join(str(fault).split())
        typer.echo(
            json.dumps({"error": text, "exit": fault.exit_code}) if as_json else f"error: {text}", err=not as_json
        )
        raise typer.Exit(fault.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; continue with: fedgenome run … --resume", err=True)
        raise typer.Exit(130) from None


def main() -> None:
    """Entry point."""
    threads.limit()
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # nothing about a run leaves the machine unasked
    os.environ.setdefault("FLWR_DISABLE_UPDATE_CHECK", "1")
    app()


if __name__ == "__main__":
    main()
