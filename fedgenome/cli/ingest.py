"""``fedgenome ingest``: what laboratories hand out, as a cohort in AnnData's format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fedgenome.cli.shared import Json, one_line_errors


class Gaps(StrEnum):
    """What becomes of "-"."""

    DROP = "drop"
    UNKNOWN = "unknown"


class Unphased(StrEnum):
    """What becomes of heterozygotes without phase."""

    REFUSE = "refuse"
    ONE = "one"


_SEQUENCES = "Sequences (FASTA, VCF)"
_FASTA, _VCF = "FASTA alone", "VCF alone"


def _option(text: str, panel: str = _SEQUENCES, **more: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=panel, **more)


def ingest(
    source: Annotated[
        Path,
        typer.Argument(
            help="expression (.tsv), sequences (.fa, .fasta) or variants (.vcf, .bcf), each also .gz",
            metavar="SOURCE",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="the cohort; an earlier one is replaced")],
    annotation: Annotated[
        Path | None,
        typer.Option("--annotation", "--meta", help="the samples' labels and donors, by sample: .csv or .tsv"),
    ] = None,
    join: Annotated[str | None, _option("its column of samples' names; default: samplesID, or the first")] = None,
    donor: Annotated[str | None, _option("its column of donors; default: a sample is a donor")] = None,
    label: Annotated[str | None, _option("its column of classes; default: all are of one class, `all`")] = None,
    keep: Annotated[list[str] | None, _option("a further column to keep, such as hospitals; may be repeated")] = None,
    window: Annotated[int | None, _option("tokens a row; needed", min=1)] = None,
    stride: Annotated[int | None, _option("tokens from row to row; default: the window", min=1)] = None,
    k: Annotated[int, _option("letters a token", min=1)] = 1,
    region: Annotated[
        list[str] | None,
        _option("START-END in every record, or CONTIG:START-END of a VCF; from 1, both ends in it; may be repeated"),
    ] = None,
    unknown: Annotated[float, _option("largest share of unknown tokens in a row", min=0, max=1)] = 0.1,
    both_strands: Annotated[bool, _option("add every row's reverse complement")] = False,
    rows_per_donor: Annotated[int | None, _option("most rows of one donor, chosen by their names", min=1)] = None,
    gaps: Annotated[Gaps, _option("of '-': left out, or kept as unknown letters", _FASTA)] = Gaps.UNKNOWN,
    aligned: Annotated[bool, _option("refuse records of unequal length", _FASTA)] = False,
    reference: Annotated[Path | None, _option("FASTA file of the region's contig; needed", _VCF)] = None,
    unphased: Annotated[
        Unphased, _option("heterozygotes without phase; one: one sequence a person, alleles by coin", _VCF)
    ] = Unphased.REFUSE,
    as_json: Json = False,
) -> None:
    """Turn a table of expression, people's sequences, or a reference and people's variants into an .h5ad file.

    Expression: genes × samples or samples × genes. Sequences are cut into rows of token codes, person by person.
    """
    with one_line_errors(as_json):
        raise NotImplementedError
