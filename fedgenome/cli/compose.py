"""``fedgenome compose``: docker-compose.yml for another number of hospitals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import one_line_errors


def compose(
    sites: Annotated[int, typer.Option(help="number of hospitals")] = 5,
    out: Annotated[Path | None, typer.Option(help="the file to write; printed unless given")] = None,
) -> None:
    """Write the docker-compose.yml of a whole federation on one machine, a container a role."""
    with one_line_errors(as_json=False):
        from fedgenome import files
        from fedgenome.deployment import compose

        text = compose.text(sites)
        if out is None:
            typer.echo(text, nl=False)
        else:
            files.replace(out, text.encode())
