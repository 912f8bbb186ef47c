"""``fedgenome study``: make, sign and read what all roles of a deployment agree on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import File, Json, one_line_errors

app = typer.Typer(name="study", help="The signed Study of a deployment: what hospitals approve and all roles pin.")

StudyFile = Annotated[Path, typer.Argument(help="the signed Study", metavar="STUDY.json", show_default=False)]


@app.command("make")
def make(
    file: File,
    roster: Annotated[Path, typer.Option(help="everybody's keys, from: fedgenome keys approve")],
    out: Annotated[Path, typer.Option(help="where the Study goes")],
    nodes: Annotated[Path | None, typer.Option(help="list of relays, with the sites' caps")] = None,
    deal: Annotated[Path | None, typer.Option(help="the deal, where a public cohort was dealt out")] = None,
    sign: Annotated[Path | None, typer.Option(help="a signer's private key (PEM)")] = None,
    as_json: Json = False,
) -> None:
    """Make an experiment's Study with the roster's keys (of a [schema], with the sites' caps); with --sign, signed."""
    with one_line_errors(as_json):
        from fedgenome import experiment
        from fedgenome.deployment.consortium import deal as dealing
        from fedgenome.deployment.consortium import nodes as lists
        from fedgenome.deployment.consortium import studies
        from fedgenome.deployment.signed import SignedStudy
        from fedgenome.secure.identity import Identity
        from fedgenome.secure.roster import RosterFile

        made = studies.make(
            experiment.load(file),
            RosterFile.load(roster),
            lists.load(nodes) if nodes else {},
            dealing.load(deal) if deal else None,
        )
        signed = SignedStudy(study=made)
        signed = signed.sign(Identity.load(sign)) if sign else signed
        signed.save(out)
        _tell(signed.study.digest, [signer for signer, _ in signed.signatures], as_json)


@app.command("sign")
def sign(
    file: StudyFile,
    key: Annotated[Path, typer.Option(help="the signer's private key (PEM)")],
    as_json: Json = False,
) -> None:
    """Add a signature to a Study; read its terms first: fedgenome study show."""
    with one_line_errors(as_json):
        from fedgenome.deployment.signed import SignedStudy
        from fedgenome.secure.identity import Identity

        signed = SignedStudy.load(file).sign(Identity.load(key))
        signed.save(file)
        _tell(signed.study.digest, [signer for signer, _ in signed.signatures], as_json)


@app.command("show")
def show(file: StudyFile, as_json: Json = False) -> None:
    """Print a Study's digest, who signed it, and its terms in plain words. Signatures that do not fit are refused."""
    with one_line_errors(as_json):
        from fedgenome.deployment.consortium import studies
        from fedgenome.deployment.signed import SignedStudy

        signed = SignedStudy.load(file)
        signers = [signer for signer, _ in signed.signatures]
        for signer in signers:
            signed.verify([signer])
        if as_json:
            _tell(signed.study.digest, signers, as_json)
        else:
            typer.echo(studies.described(signed))


@app.command("schema")
def schema(file: File, as_json: Json = False) -> None:
    """Print the [schema] that says what a public [cohort] says, for an experiment whose data are at hospitals alone."""
    with one_line_errors(as_json):
        from fedgenome import experiment, toml
        from fedgenome.deployment.consortium import studies

        told = {"schema": studies.public_facts(experiment.load(file))}
        typer.echo(json.dumps(told) if as_json else toml.text(told).strip())


def _tell(digest: str, signers: list[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"digest": digest, "signers": signers}))
    else:
        typer.echo("\n".join([f"digest     {digest}", *(f"signed by  {signer}" for signer in signers)]))
