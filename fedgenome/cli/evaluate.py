"""``fedgenome evaluate``: what a synthetic table is good for, beside real rows."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fedgenome.cli.shared import Common, Counts, DropUnlabelled, Json, Label, Layer, one_line_errors
from fedgenome.errors import require


def evaluate(
    real: Annotated[Path, typer.Argument(help="real rows to compare with", metavar="REAL.h5ad", show_default=False)],
    synthetic: Annotated[Path, typer.Argument(help="the table", metavar="SYNTHETIC.h5ad", show_default=False)],
    label: Label = "label",
    train: Annotated[Path | None, typer.Option(help="real rows that the table's generator was trained on")] = None,
    holdout: Annotated[
        Path | None,
        typer.Option(help="real rows it never saw; without --train, REAL is what it was trained on"),
    ] = None,
    donor: Annotated[str | None, typer.Option(help="obs column of donors: none is in both halves")] = None,
    layer: Layer = "X",
    common: Common = False,
    counts: Counts = False,
    drop_unlabelled: DropUnlabelled = False,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same figures")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="two classifiers, two repeats, fewer rows")] = False,
    out: Annotated[Path | None, typer.Option(help="write an HTML page too")] = None,
    as_json: Json = False,
) -> None:
    """Judge a synthetic table by every figure, beside real rows in its place. Internal: it reads real people."""
    with one_line_errors(as_json):
        from fedgenome.tables import Reading
        from fedgenome.utility import metrics, run, tables

        require(out is None or out.parent.is_dir(), f"--out: a folder {out.parent if out else ''}")
        asked = tables.Files(
            real=real,
            synthetic=synthetic,
            train=train,
            holdout=holdout,
            how=Reading(
                label=label,
                donor=donor,
                layer=layer,
                common=common,
                counts=counts,
                drop_unlabelled=drop_unlabelled,
            ),
        )
        given = tables.read(asked)
        settings = metrics.QUICK if quick else metrics.FULL
        judged = run.utility(given.synthetic, given.real, seed=seed, settings=settings, dosages=given.dosages)
        files = {role: path.name for role, path in asked.roles.items()}
        found = judged.to_json() | {"files": files, "labels": list(given.labels), "genes": len(given.genes)}
        if out is not None:
            _write(out, found, given.genes)
        typer.echo(json.dumps(found) if as_json else _text(found, given.genes))


def _write(out: Path, found: Mapping[str, Any], genes: Sequence[str]) -> None:
    from plotly.offline import get_plotlyjs

    from fedgenome import files
    from fedgenome.report.evaluation import evaluation_page

    files.replace(out, evaluation_page(found, genes, (str(get_plotlyjs()),)).encode())


def _text(found: Mapping[str, Any], genes: Sequence[str]) -> str:
    """Return the figures as a table of one line each."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=_roles(found), title_justify="left", box=None, pad_edge=False)
    for name, justify in (("figure", "left"), ("table", "right"), ("equal sizes", "right"), ("real half", "right")):
        grid.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    grid.add_column("what it says")
    for m in found["metrics"]:
        gene = f" ({genes[m['whole']['gene']]})" if "gene" in m["whole"] else ""
        row = _number(m["whole"]["value"]), *(_number(m[side]["estimate"]) for side in ("synthetic", "real"))
        words = m["whole"]["note"] if m["whole"]["value"] is None else m["words"] + gene
        grid.add_row(m["title"], *row, words)
    written = io.StringIO()
    console = Console(file=written, width=170, highlight=False, markup=False)
    console.print(grid)
    n = found["settings"]["repeats"]
    console.print(
        "\ntable: the whole table against all real rows. equal sizes, real half: as many rows of the table and of real "
        f"people against the same real rows, mean of {n} halvings (ranges: --json), seed {found['seed']}."
    )
    console.print(f"{found['statement']}.")
    return "\n".join(line.rstrip() for line in written.getvalue().rstrip().splitlines())


def _roles(found: Mapping[str, Any]) -> str:
    told = (f"{role} {name} ({found['rows'][role]:,} rows)" for role, name in found["files"].items())
    return f"{', '.join(told)}; {found['genes']:,} genes, {len(found['labels'])} labels"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
