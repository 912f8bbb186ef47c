"""``fedgenome ingest``: what laboratories hand out, as a cohort in AnnData's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedgenome.cli.shared import Json, one_line_errors


def ingest(
    source: Annotated[Path, typer.Argument(help="a table of expression", metavar="SOURCE.tsv", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="the cohort; an earlier one is replaced")],
    annotation: Annotated[
        Path | None, typer.Option(help="the samples' labels and donors, by sample: .csv or .tsv")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn a table of expression (.tsv, .tsv.gz; genes × samples or samples × genes) into an .h5ad file."""
    with one_line_errors(as_json):
        from fedgenome.cohort.camda import is_camda, open_camda
        from fedgenome.cohort.h5ad import write_h5ad
        from fedgenome.errors import SpecError

        if not is_camda(str(source)):
            raise SpecError(f"{source}: expected a .tsv or .tsv.gz file")
        if out.suffix != ".h5ad":
            raise SpecError(f"--out: expected a name that ends in .h5ad, got {out.name!r}")
        table = open_camda(str(source), None if annotation is None else str(annotation))
        write_h5ad(table, out)
        told = {"file": str(out), "rows": len(table.rows), "genes": len(table.genes), "columns": list(table.columns)}
        text = f"{out}: {len(table.rows)} rows × {len(table.genes)} genes; obs columns: {', '.join(table.columns)}"
        typer.echo(json.dumps(told) if as_json else text)
