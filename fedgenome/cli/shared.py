"""What all commands share: their options, and how an error ends one."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.errors import FedgenomeError

File = Annotated[Path, typer.Argument(help="the experiment file", metavar="EXPERIMENT.toml", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object instead of text")]

# How tables of people are read: fedgenome.tables.Reading
Label = Annotated[str, typer.Option(help="obs column of classes; the table may have it as `label`")]
Layer = Annotated[str, typer.Option(help="X, raw or a layer of real files")]
Common = Annotated[bool, typer.Option("--common", help="compare the genes that all files share")]
Counts = Annotated[bool, typer.Option("--counts", help="scale files of counts to 1e4 a row, then log1p")]
DropUnlabelled = Annotated[bool, typer.Option("--drop-unlabelled", help="leave out real rows without a label")]


@contextmanager
def one_line_errors(as_json: bool) -> Iterator[None]:
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
