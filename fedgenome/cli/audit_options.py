"""The options of ``fedgenome audit``: what is attacked, with whom, and by which rules it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[Path, typer.Argument(help="a release folder, or a table: .h5ad, .csv, .tsv", metavar="TARGET")]
Members = Annotated[Path, typer.Option(help="rows that the generator was trained on: .h5ad, .csv, .tsv")]
Controls = Annotated[Path, typer.Option(help="rows it never saw, drawn by chance from the same cohort")]
Base = Annotated[Path | None, typer.Option(help="real rows that are neither; absent: a third of --controls")]
Attacks = Annotated[str, typer.Option(help="standard, as the gate of a run has them; all; or names, divided by commas")]
Reference = Annotated[
    Path | None, typer.Option(help="rows of a generator that never saw the members: calibrates gan-leaks")
]
Canaries = Annotated[
    Path | None,
    typer.Option(help="of a language model: .h5ad of codes, drawn uniformly; obs repeats: how often each was planted"),
]
Donor = Annotated[str | None, typer.Option(help="obs column of donors; absent: every row is a unit")]
Strata = Annotated[
    list[str] | None,
    typer.Option(help="an obs column: attacks by its values too; may be given again", metavar="COLUMN"),
]
Low = Annotated[float | None, typer.Option(help="lowest value, public; absent: the release's or the table's")]
High = Annotated[float | None, typer.Option(help="highest value, public")]
Samples = Annotated[int, typer.Option(min=1, help="rows drawn from each generator of a release")]
Policy = Annotated[Path | None, typer.Option(help="a TOML file with a table [audit]; absent: the default")]
Seed = Annotated[int, typer.Option(min=0, help="the same seed gives the same audit")]
Report = Annotated[Path | None, typer.Option(help="write an HTML page too")]
