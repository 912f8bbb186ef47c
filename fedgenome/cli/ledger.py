"""``fedgenome ledger``: what a site's ledger holds, and whether it holds together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import Json, one_line_errors

app = typer.Typer(name="ledger", help="A site's ledger: what was reserved, spent and is left; whether it holds.")

LedgerFile = Annotated[Path, typer.Argument(help="a site's ledger", metavar="LEDGER.jsonl", show_default=False)]


@app.command("show")
def show(file: LedgerFile, as_json: Json = False) -> None:
    """Tell every plan of a ledger: its price, whole and by scope, what was charged, and what of the budget is left."""
    with one_line_errors(as_json):
        from fedgenome import ledgers

        found = ledgers.read(file)
        typer.echo(json.dumps(found.to_json()) if as_json else ledgers.text(found))


@app.command("verify")
def verify(
    file: LedgerFile,
    head: Annotated[str, typer.Option(help="hash of a line, kept elsewhere: the chain must hold it")] = "",
    signer: Annotated[str, typer.Option(help="public key that must have signed every reservation and close")] = "",
    as_json: Json = False,
) -> None:
    """Check a ledger line by line: chain, rules, prices, signatures. The first fault is one line and exit code 2."""
    with one_line_errors(as_json):
        from fedgenome import ledgers

        found = ledgers.read(file, head=head, signer=signer)
        typer.echo(json.dumps(found.to_json()) if as_json else "\n".join(ledgers.state(found)))
