"""``fedgenome site``: a hospital's agent, and what the hospital agreed to."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import Json, one_line_errors
from fedgenome.errors import SpecError

app = typer.Typer(
    name="site", help="A hospital's agent: serve, approve or revoke studies, withdraw donors, look at it."
)

Config = Annotated[Path, typer.Argument(help="the site's configuration", metavar="SITE.toml", show_default=False)]
StudyFile = Annotated[Path, typer.Argument(help="a signed study", metavar="STUDY.json", show_default=False)]


@app.command("serve")
def serve(file: Config) -> None:
    """Answer this hospital's relay until SIGTERM. Logs are JSON lines on stderr, without data."""
    with one_line_errors(False):
        from fedgenome.deployment import logs, roles
        from fedgenome.deployment.hospital import serving, site

        config = site.SiteConfig.load(file)
        serving.serve(config, logs.install(sys.stderr), roles.ended_by_signal())


@app.command("approve")
def approve(
    file: Config,
    study: StudyFile,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Show a signed study in plain words and take part in it, unless the policy refuses it or the data do not fit."""
    with one_line_errors(False):
        from fedgenome.deployment.hospital import approvals, journal, site
        from fedgenome.deployment.signed import SignedStudy

        config, signed = site.SiteConfig.load(file), SignedStudy.load(study)
        approvals.check(config, signed)
        typer.echo(approvals.text(config, signed))
        if not (yes or typer.confirm("Take part?")):
            raise typer.Exit(1)
        approvals.approve(config, signed)
        with journal.Journal(config.state / journal.FILE) as book:
            book.note("approve", study=signed.study.digest)
        typer.echo(f"approved {signed.study.digest}")


@app.command("revoke")
def revoke(
    file: Config,
    digest: Annotated[str, typer.Argument(help="the study's digest, or its first digits", show_default=False)],
) -> None:
    """Take an approval back: a run under way ends at its next question. What was answered stays spent."""
    with one_line_errors(False):
        from fedgenome.deployment.hospital import approvals, journal, site

        config = site.SiteConfig.load(file)
        whole = approvals.revoke(config.state, digest)
        with journal.Journal(config.state / journal.FILE) as book:
            book.note("revoke", study=whole)
        typer.echo(f"revoked {whole}")


@app.command("withdraw")
def withdraw(
    file: Config,
    donor: Annotated[
        str | None, typer.Argument(help="the donor's id, a row's name without a donor column; - reads it from stdin")
    ] = None,
    only_count: Annotated[bool, typer.Option("--list", help="tell how many withdrew, and nothing else")] = False,
    as_json: Json = False,
) -> None:
    """Leave a donor's rows out from the next question on, and tell what cannot be taken back. Only a hash is kept."""
    with one_line_errors(as_json):
        from fedgenome.deployment.hospital import site, withdrawal, withdrawn

        config = site.SiteConfig.load(file)
        if only_count:
            told = {"withdrawn": len(withdrawn.load(config.state).found), "unit": withdrawal.unit(config)}
            typer.echo(json.dumps(told) if as_json else f"withdrawn: {told['withdrawn']} by {told['unit']}")
            return
        if donor is None:
            raise SpecError("expected a donor's id, - to read it from stdin, or --list")
        found = withdrawal.withdraw(config, sys.stdin.readline().rstrip("\n") if donor == "-" else donor)
        typer.echo(json.dumps(found.to_json()) if as_json else withdrawal.text(found))


@app.command("doctor")
def doctor(
    file: Config,
    superlink: Annotated[str, typer.Option(help="the SuperLink's host:port")] = "",
    certificates: Annotated[Path | None, typer.Option(help="ca.crt, by which it is known")] = None,
    roster: Annotated[Path | None, typer.Option(help="a roster that should name this site's key")] = None,
    study: Annotated[Path | None, typer.Option(help="a signed study that this site should fit")] = None,
    as_json: Json = False,
) -> None:
    """Try what a run will need, a line each: ok, failed with a remedy, not tested. Exit 0 only if nothing failed."""
    with one_line_errors(as_json):
        from fedgenome.deployment.hospital import doctor, findings, site

        given = doctor.Given(superlink=superlink, authority=certificates, roster=roster, study=study)
        found = doctor.examine(site.SiteConfig.load(file), given)
        typer.echo(json.dumps([asdict(one) for one in found]) if as_json else findings.text(found))
        raise typer.Exit(int(any(one.state == "failed" for one in found)))


@app.command("status")
def status(file: Config, as_json: Json = False) -> None:
    """Tell what is approved, every run, what of the budget is left, the last answers, and whether the agent serves."""
    with one_line_errors(as_json):
        from fedgenome.deployment.hospital import site, status

        found = status.status(site.SiteConfig.load(file))
        typer.echo(json.dumps(found.to_json()) if as_json else status.text(found))


@app.command("health")
def health(file: Config) -> None:
    """Exit 0 if the agent answers on its socket, else 1: a container's health check."""
    from fedgenome.deployment.hospital import site, status

    try:
        why = status.healthy(site.SiteConfig.load(file))
    except SpecError as fault:  # no exit code but 0 and 1 is a health check's
        why = str(fault)
    if why:
        typer.echo(why, err=True)
        raise typer.Exit(1)


@app.command("ledger")
def ledger(file: Config, as_json: Json = False) -> None:
    """Tell every plan of this site's ledger: its price, what was charged, what of the budget is left."""
    with one_line_errors(as_json):
        from fedgenome import ledgers
        from fedgenome.deployment.hospital import site

        found = ledgers.read(site.SiteConfig.load(file).state / site.LEDGER)
        typer.echo(json.dumps(found.to_json()) if as_json else ledgers.text(found))
