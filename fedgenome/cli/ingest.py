"""``fedgenome ingest``: what laboratories hand out, as a cohort in AnnData's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from click.core import ParameterSource

from fedgenome.cli import ingest_options as options
from fedgenome.cli.ingest_genotypes import Taken, ingest_genotypes
from fedgenome.cli.ingest_sequences import Cut, Read, ingest_sequences
from fedgenome.cli.shared import Json, one_line_errors
from fedgenome.errors import SpecError, require


def ingest(
    context: typer.Context,
    source: options.Source,
    out: options.Out,
    annotation: options.Annotation = None,
    join: options.Join = None,
    donor: options.Donor = None,
    label: options.Label = None,
    keep: options.Keep = None,
    window: options.Window = None,
    stride: options.Stride = None,
    k: options.K = 1,
    region: options.Region = None,
    unknown: options.Unknown = 0.1,
    both_strands: options.BothStrands = False,
    rows_per_donor: options.RowsPerDonor = None,
    gaps: options.Gaps = "unknown",
    aligned: options.Aligned = False,
    reference: options.Reference = None,
    unphased: options.Unphased = "refuse",
    panel: options.Panel = None,
    ambiguous: options.Ambiguous = "drop",
    bed: options.Bed = None,
    snv: options.Snv = False,
    maf: options.Maf = 0.0,
    missing: options.Missing = 1.0,
    haploid: options.Haploid = "refuse",
    haplotypes: options.Haplotypes = False,
    as_json: Json = False,
) -> None:
    """Turn expression, people's genotypes, or their sequences into an .h5ad file.

    SOURCE is expression (.tsv), sequences (.fa, .fasta), variants (.vcf, .bcf), each also .gz, or PLINK's .bed.

    Expression: genes × samples or samples × genes. A VCF gives genotypes, people × variants; with --window its people's
    sequences over a reference. Sequences are cut into rows of token codes, person by person.
    """
    with one_line_errors(as_json):
        from fedgenome.cohort.samples import read_samples

        kind = _kind(source, out, context, window)
        if kind == "expression":
            return _say(_expression(source, out, annotation), as_json)
        table = None if annotation is None else str(annotation)
        who = read_samples(table, join=join, donor=donor, label=label, keep=keep or ())
        if kind == "genotypes":
            taken = Taken(panel, ambiguous, bed, snv, maf, missing, haploid, haplotypes)
            return _say(ingest_genotypes(source, out, who, taken), as_json)
        cut = Cut(window or 0, stride, k, region or (), unknown, both_strands, rows_per_donor, gaps)
        read = Read(aligned, reference, unphased)
        return _say(ingest_sequences(source, out, who, cut, read), as_json)


def _kind(source: Path, out: Path, context: typer.Context, window: int | None) -> str:
    """Return what a source is, by its name; refuse options that do not go with it."""
    from fedgenome.cohort.camda import is_camda
    from fedgenome.cohort.plink import is_plink
    from fedgenome.cohort.sequences import is_fasta
    from fedgenome.cohort.variants import is_vcf

    known = {"expression": is_camda, "fasta": is_fasta, "vcf": is_vcf, "genotypes": is_plink}
    kind = next((kind for kind, fits in known.items() if fits(str(source))), None)
    if kind is None:
        rule = "expected a .tsv, .fa, .fasta, .fna or .vcf file, each also .gz, a .bcf, or a .bed of PLINK"
        raise SpecError(f"{source}: {rule}")
    if kind == "vcf" and window is None:
        kind = "genotypes"
    require(window is not None or kind not in ("fasta", "vcf"), "--window: the number of tokens a row")
    if out.suffix != ".h5ad":
        raise SpecError(f"--out: expected a name that ends in .h5ad, got {out.name!r}")
    for option in context.command.params:
        panel, given = getattr(option, "rich_help_panel", None), context.get_parameter_source(option.name or "")
        if panel in options.PANELS and kind not in options.PANELS[panel] and given is ParameterSource.COMMANDLINE:
            raise SpecError(f"{option.opts[0]}: expected only with {options.PANELS[panel][-1]}, got {source.name}")
    return kind


def _say(told: tuple[dict[str, Any], str], as_json: bool) -> None:
    fields, text = told
    typer.echo(json.dumps(fields) if as_json else text)


def _expression(source: Path, out: Path, annotation: Path | None) -> tuple[dict[str, Any], str]:
    from fedgenome.cohort.camda import open_camda
    from fedgenome.cohort.h5ad import write_h5ad

    table = open_camda(str(source), None if annotation is None else str(annotation))
    write_h5ad(table, out)
    told = {"file": str(out), "rows": len(table.rows), "genes": len(table.genes), "columns": list(table.columns)}
    return told, f"{out}: {len(table.rows)} rows × {len(table.genes)} genes; obs columns: {', '.join(table.columns)}"
