"""``fedgenome sanitize``: rows perturbed once, looked for among their originals, and written only if they pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedgenome.cli.audit import EXIT_WITHHELD, INTERNAL
from fedgenome.cli.mask import report
from fedgenome.cli.shared import Json, one_line_errors
from fedgenome.errors import require

if TYPE_CHECKING:
    from fedgenome.sanitizing import Sanitizing


def sanitize(
    source: Annotated[str, typer.Argument(help="whose rows: an expression cohort", metavar="SOURCE")],
    target: Annotated[Path, typer.Argument(help="the sanitized .h5ad; not written if it does not pass")],
    low: Annotated[float, typer.Option(help="of the public range; values are clipped to it")],
    high: Annotated[float, typer.Option(help="of the public range: low to high is one unit of distance, of one gene")],
    kind: Annotated[str, typer.Option(help="metric or laplace")] = "metric",
    keep: Annotated[str, typer.Option(help="coefficients that are kept, or all")] = "50",
    basis: Annotated[str, typer.Option(help="of the coefficients: dct or haar")] = "dct",
    epsilon: Annotated[float | None, typer.Option(help="a unit of distance; absent: no noise, a reference")] = None,
    labels_epsilon: Annotated[float | None, typer.Option(help="of classes; absent: they stay exact")] = None,
    donor: Annotated[str | None, typer.Option(help="obs column of ids; absent: every row is a unit")] = None,
    label: Annotated[str | None, typer.Option(help="obs column of classes that leave; absent: none do")] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="a public class; once for each")] = None,
    policy: Annotated[Path | None, typer.Option(help="a TOML file with a table [audit]; absent: the default")] = None,
    key: Annotated[
        Path | None, typer.Option(help="identity file: the same rows come out the same again; absent: new draws")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="a simulation, which promises nothing")] = None,
    as_json: Json = False,
) -> None:
    """Perturb people's rows, look for them among the originals, and write the file if few are recognised.

    0 written, 3 withheld: nothing is written. ε is of each row, in proportion to distance. The output is internal.
    """
    with one_line_errors(as_json):
        from fedgenome import auditing, files, sanitizing

        require(target.parent.is_dir() and not target.is_dir(), "TARGET: a file in a folder", target=str(target))
        told = {"kind": kind, "keep": int(keep) if keep.isdecimal() else keep, "basis": basis}
        asked = sanitizing.Asked(
            source=source,
            spec=sanitizing.spec_of(told | {"epsilon": epsilon, "labels_epsilon": labels_epsilon}),
            low=low,
            high=high,
            donor=donor,
            label=label,
            classes=tuple(classes or ()),
            policy=auditing.policy(policy),
            key=key,
            seed=seed,
        )
        found = sanitizing.run(asked)
        if found.verdict.released:
            files.replace(target, found.file())
        file = str(target) if found.verdict.released else None
        said = found.to_json() | {"statement": INTERNAL, "seed": seed, "file": file}
        typer.echo(json.dumps(said) if as_json else report(_head(found), found.linkage, found.verdict, target))
        raise typer.Exit(0 if found.verdict.released else EXIT_WITHHELD)


def _head(found: Sanitizing) -> list[str]:
    linkage = found.linkage
    judged = f"{linkage.judged:,} people are looked for among {linkage.panel}"
    scale = [] if found.scale is None else [found.scale]
    return [f"{len(found.rows.x):,} rows, {found.told['coefficients']} coefficients", *scale, judged]
