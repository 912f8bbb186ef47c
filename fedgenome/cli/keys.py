"""``fedgenome keys``: identities, requests, rosters and certificates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import Json, one_line_errors

app = typer.Typer(
    name="keys", help="Keys of sites, parties and dealer, made where they are used; rosters; certificates."
)

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


@app.command("request")
def request(
    state: Annotated[Path, typer.Argument(help="the role's state folder", metavar="STATE", show_default=False)],
    role: Annotated[str, typer.Option(help="site, party or dealer")],
    name: Annotated[str, typer.Option(help="the site's name; party-0, party-1 or party-2; dealer")],
    cap: Annotated[int, typer.Option(help="the most donors that a site will ever hold; public")] = 0,
    out: Annotated[Path, typer.Option(help="where the request goes; - for standard output")] = Path("-"),
    as_json: Json = False,
) -> None:
    """Make a role's keys in STATE, or find them, and write the request of their public halves."""
    with one_line_errors(as_json):
        from fedgenome.deployment.consortium import requests

        made = requests.request(state, requests.check_role(role, name, cap), name, cap)
        if piped := str(out) == "-":
            typer.echo(made.text, nl=False)
        else:
            made.save(out)
        identity, node = made.fingerprints
        if as_json and not piped:
            typer.echo(json.dumps({"identity": identity, "node": node}))
        else:
            typer.echo(f"identity  {identity}\nnode key  {node}\nCompare both by telephone.", err=piped)


@app.command("approve")
def approve(
    file: Annotated[
        list[Path], typer.Argument(help="the requests of all", metavar="REQUEST.json…", show_default=False)
    ],
    roster: Annotated[Path, typer.Option(help="the roster to write")],
    nodes: Annotated[Path, typer.Option(help="the list of relays to write")],
    node_keys: Annotated[Path | None, typer.Option(help="folder for NAME.pub of every relay, to register")] = None,
    as_json: Json = False,
) -> None:
    """Check all requests and write the roster and the list of relays. Compare what it prints by telephone."""
    with one_line_errors(as_json):
        from fedgenome.deployment.consortium import nodes as lists
        from fedgenome.deployment.consortium import requests

        every = [requests.Request.load(path) for path in file]
        made = requests.save(every, roster, nodes)
        digests = {"roster": made.digest, "nodes": lists.digest(requests.relays(every))}
        if node_keys is not None:
            lists.save_keys(requests.relays(every), node_keys)
        if as_json:
            typer.echo(json.dumps({"roles": [one.model_dump() for one in every], **digests}))
        else:
            typer.echo(requests.table(every))
            typer.echo("\n".join(f"{what:6} digest  {digest}" for what, digest in digests.items()))


@app.command("certificates")
def certificates(
    folder: Annotated[Path, typer.Argument(help="where they go", metavar="FOLDER", show_default=False)],
    host: Annotated[list[str] | None, typer.Option(help="name or address of the SuperLink; once for each")] = None,
    days: Annotated[float, typer.Option(help="how long the server certificate holds")] = 90,
    renew: Annotated[bool, typer.Option("--renew", help="a new server certificate under the same authority")] = False,
    as_json: Json = False,
) -> None:
    """Make an authority and the SuperLink's certificate (ca.crt, ca.key, server.crt, server.key)."""
    with one_line_errors(as_json):
        from fedgenome.deployment.consortium import certificates as made

        if renew:
            made.renew(folder, days, host or ())
        else:
            made.make(folder, host or (), days)
        left = {name: made.days_left(made.read(folder / name)) for name in (made.CA, made.CERTIFICATE)}
        told = "\n".join(f"{name:11} {days:.1f} days left" for name, days in left.items())
        typer.echo(json.dumps({"days_left": left}) if as_json else told)
