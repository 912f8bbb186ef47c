"""``fedgenome app``: the signed bundle that a SuperNode runs, and no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import Json, one_line_errors

app = typer.Typer(name="app", help="The Flower app bundle: built, signed by a release key, served to a SuperLink.")

Fab = Annotated[Path, typer.Argument(help="the bundle", metavar="BUNDLE.fab", show_default=False)]


@app.command("build")
def build(
    out: Annotated[Path, typer.Option(help="folder for the bundle")],
    root: Annotated[Path, typer.Option(help="the repository's root")] = Path(),
    as_json: Json = False,
) -> None:
    """Build the app bundle of a checkout; the same files give the same bytes."""
    with one_line_errors(as_json):
        from fedgenome.deployment.consortium import app as bundles

        made = bundles.build(root, out)
        bundle = bundles.Bundle.read(made)
        told = {"file": str(made), "app": bundle.name, "sha256": bundle.signatures.sha256, "files": bundle.content}
        typer.echo(json.dumps(told) if as_json else str(made))


@app.command("sign")
def sign(
    file: Fab,
    key: Annotated[Path, typer.Option(help="the release key: a PEM of `keys new`, or an OpenSSH Ed25519 key")],
    out: Annotated[Path, typer.Option(help="the signatures; those of the same bundle already there are kept")],
    as_json: Json = False,
) -> None:
    """Sign a bundle: SuperNodes that list the key will run it. Read the files it prints first."""
    with one_line_errors(as_json):
        from fedgenome.deployment.consortium import app as bundles

        signed = bundles.sign(file, key, out)
        signers = [one.public_key_id for one in signed.signatures.verifications]
        told = {"app": signed.name, "sha256": signed.signatures.sha256, "files": signed.content, "signers": signers}
        text = [f"app        {signed.name}", f"sha-256    {signed.signatures.sha256}"]
        text += [f"file       {name}" for name in signed.content] + [f"signed by  {one}" for one in signers]
        typer.echo(json.dumps(told) if as_json else "\n".join(text))


@app.command("trusted")
def trusted(
    key: Annotated[
        list[str], typer.Argument(help="public key: hex, an OpenSSH line, or a file of either", metavar="KEY…")
    ],
    out: Annotated[Path, typer.Option(help="the file for `flower-supernode --trusted-entities`")],
    as_json: Json = False,
) -> None:
    """Write the list of release keys whose bundles a SuperNode runs."""
    with one_line_errors(as_json):
        from fedgenome.deployment.consortium import release_keys

        keys = [release_keys.public_key(text) for text in key]
        release_keys.save_trusted(keys, out)
        names = [release_keys.key_id(one) for one in keys]
        typer.echo(json.dumps({"trusted": names}) if as_json else "\n".join(names))


@app.command("serve")
def serve(
    file: Fab,
    signatures: Annotated[
        Path, typer.Argument(help="what `app sign` wrote", metavar="BUNDLE.json", show_default=False)
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on loopback; 0: any")] = 8099,
    as_json: Json = False,
) -> None:
    """Serve a signed bundle to the SuperLink of this machine, until ended. Loopback only.

    Start the SuperLink with FLWR_SUPERGRID_API_URL=http://127.0.0.1:PORT, and submit: flwr run @fedgenome/fedgenome==…
    """
    with one_line_errors(as_json):
        from fedgenome.deployment.consortium import app as bundles
        from fedgenome.deployment.coordinator import hub

        def ready(taken: int) -> None:
            address = f"http://127.0.0.1:{taken}"
            typer.echo(
                json.dumps({"app": bundle.name, "address": address}) if as_json else f"{bundle.name} at {address}"
            )

        bundle = bundles.Bundle.read(file).join(bundles.Signatures.load(signatures), signatures)
        hub.serve(bundle, port, ready)
