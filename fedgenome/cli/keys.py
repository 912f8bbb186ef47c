"""``fedgenome keys``: identities and rosters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import Json, one_line_errors

app = typer.Typer(name="keys", help="Identities of sites, parties and dealer, and the roster of their public keys.")

KeyFile = Annotated[Path, typer.Argument(help="a private key in PEM", metavar="FILE.pem", show_default=False)]


@app.command("new")
def new(file: KeyFile, as_json: Json = False) -> None:
    """Make an identity: the private key goes to FILE (mode 600), the public one is printed."""
    with one_line_errors(as_json):
        from fedgenome.secure.identity import Identity

        identity = Identity.generate()
        identity.save(file)
        typer.echo(json.dumps({"public": identity.public}) if as_json else identity.public)


@app.command("show")
def show(file: KeyFile, as_json: Json = False) -> None:
    """Print the public key of an identity file, and nothing else of it."""
    with one_line_errors(as_json):
        from fedgenome.secure.identity import Identity

        public = Identity.load(file).public
        typer.echo(json.dumps({"public": public}) if as_json else public)


@app.command("roster")
def roster(
    file: Annotated[Path, typer.Argument(help="the roster file", metavar="ROSTER.toml", show_default=False)],
    site: Annotated[list[str] | None, typer.Option(help="NAME=KEY of a site; once for each")] = None,
    party: Annotated[list[str] | None, typer.Option(help="public key of a party; three times, in order")] = None,
    dealer: Annotated[str, typer.Option(help="public key of the dealer, where there is one")] = "",
    as_json: Json = False,
) -> None:
    """Check and print a roster; with --site and --party, write a new one first. Compare the digest by telephone."""
    with one_line_errors(as_json):
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
