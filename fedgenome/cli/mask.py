"""``fedgenome mask``: a list applied to a cohort, attacked by linkage, and written only if it passes."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedgenome.cli.audit import EXIT_WITHHELD, INTERNAL
from fedgenome.cli.shared import Json, one_line_errors
from fedgenome.errors import require

if TYPE_CHECKING:
    from fedgenome.audit.gate import Verdict
    from fedgenome.audit.linkage.results import Linkage
    from fedgenome.masking import Masking

_WIDTH = 100


def mask(
    cohort: Annotated[Path, typer.Argument(help="whose rows: an .h5ad", metavar="COHORT.h5ad", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="the masked file; not written if it does not pass")],
    chosen: Annotated[
        Path | None, typer.Option("--list", help="a release with a list, or a file of names, one a line")
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(
            min=1, help="how many are told: the release's highest, the file's first; without --list by chance"
        ),
    ] = None,
    panel: Annotated[
        Path | None, typer.Option(help="a second .h5ad of the same people; absent: one made from the rows themselves")
    ] = None,
    panel_id: Annotated[str | None, typer.Option(help="its obs column of ids; absent: the names of rows")] = None,
    donor: Annotated[str | None, typer.Option(help="the cohort's obs column of ids; absent: the names of rows")] = None,
    label: Annotated[
        str | None, typer.Option(help="obs column of classes that leave with the rows; attackers know them")
    ] = None,
    share: Annotated[float, typer.Option(help="of people in both: attackers are fitted to them")] = 0.25,
    decoys: Annotated[float, typer.Option(help="of those judged: their record leaves the panel")] = 0.0,
    error: Annotated[float | None, typer.Option(help="of a second look that is made; default: .01")] = None,
    policy: Annotated[Path | None, typer.Option(help="a TOML file with a table [audit]; absent: the default")] = None,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same file and verdict")] = 0,
    as_json: Json = False,
) -> None:
    """Withhold all but a list from people's rows, look for the people, and write the file if few are found.

    0 written, 3 withheld: nothing is written. No differential privacy covers the rows. The output is internal.
    """
    with one_line_errors(as_json):
        from fedgenome import auditing, files, masking
        from fedgenome.audit.linkage.spec import linkage_spec

        require(out.parent.is_dir() and not out.is_dir(), "--out: a file in a folder", out=str(out))
        told = {"panel": panel, "id": panel_id, "share": share, "decoys": decoys, "error": error}
        asked = masking.Asked(
            cohort=cohort,
            chosen=chosen,
            keep=keep,
            donor=donor,
            label=label,
            linkage=linkage_spec({name: value for name, value in told.items() if value is not None}),
            policy=auditing.policy(policy),
            seed=seed,
        )
        found = masking.run(asked)
        if found.verdict.released:
            files.replace(out, found.file(seed))
        file = str(out) if found.verdict.released else None
        said = found.to_json() | {"statement": INTERNAL, "seed": seed, "file": file}
        typer.echo(json.dumps(said) if as_json else text(found, out))
        raise typer.Exit(0 if found.verdict.released else EXIT_WITHHELD)


def text(found: Masking, out: Path) -> str:
    """Return findings and verdict in short lines."""
    return report(_head(found), found.linkage, found.verdict, out)


def report(head: Sequence[str], linkage: Linkage, verdict: Verdict, out: Path) -> str:
    """Return what attackers found of rows, and what the gate makes of it, in short lines."""
    word = f"written: {out}" if verdict.released else "withheld: nothing was written"
    lists = {"Why": verdict.reasons, "Speaks against": verdict.evidence_against, "Speaks for": verdict.evidence_for}
    parts = [
        [INTERNAL, *head],
        [
            "Attackers (share of people whose own record comes first; upper bounds hold each)",
            *_attackers(linkage),
        ],
        ["Controls", *(f"  {'passed' if c.passed else 'FAILED'}  {c.kind}: {c.words}" for c in linkage.checks)],
        *([title, *(f"- {line}" for line in lines)] for title, lines in lists.items() if lines),
        [*verdict.alerts, word],
    ]
    return "\n\n".join("\n".join(_wrapped(line) for line in part) for part in parts)


def _head(found: Masking) -> list[str]:
    linkage = found.linkage
    return [
        f"{len(found.people.ids):,} people; told {linkage.told:,} of {linkage.variants:,}: {found.source}",
        f"looked for among {linkage.panel}",
        f"{linkage.judged:,} people and {linkage.decoys:,} decoys are judged, {linkage.candidates:,} candidates; "
        f"attackers are fitted to {linkage.fitted:,} others in both and {linkage.others:,} of the panel alone",
    ]


def _attackers(linkage: Linkage) -> list[str]:
    lines = [f"  {e.vector:26} {e.estimate:.3f}  at most {e.high:.3f}" for e in linkage.worst.effects]
    bits, by = linkage.bits, linkage.strata
    lines += [f"  {name:26} left out: {why}" for name, why in linkage.left_out.items()]
    lines.append(
        f"  bits given away: {bits.proven:.2f} of {bits.prior:.2f}; own pairs lie {linkage.sigmas.words} σ off"
    )
    if linkage.open_set is not None:
        lines.append(f"  found where 1 % of decoys are taken for somebody: {linkage.open_set.words}")
    return lines + [f"  {name}: {rate.words}" for name, rate in by.items()]


def _wrapped(line: str) -> str:
    return textwrap.fill(line, _WIDTH, subsequent_indent="  ", break_long_words=False, drop_whitespace=True)
