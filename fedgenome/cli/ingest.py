"""``fedgenome ingest``: what laboratories hand out, as a cohort in AnnData's format."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from click.core import ParameterSource

from fedgenome.cli.ingest_genotypes import Taken, ingest_genotypes
from fedgenome.cli.shared import Json, one_line_errors
from fedgenome.errors import SpecError, require

if TYPE_CHECKING:
    from fedgenome.cohort.samples import Samples
    from fedgenome.cohort.sequence_file import Records
    from fedgenome.cohort.variants import Unphased
    from fedgenome.cohort.windows import Region, WindowSpec


_SEQUENCES, _FASTA, _VCF = "Sequences (with --window)", "FASTA alone", "Sequences of a VCF (with --window)"
_PEOPLE, _GENOTYPES = "People", "Genotypes (a VCF without --window, or PLINK)"
_PANELS = {
    _PEOPLE: ("fasta", "vcf", "genotypes", "files of sequences or variants"),
    _SEQUENCES: ("fasta", "vcf", "--window (a VCF without it gives genotypes)"),
    _FASTA: ("fasta", "FASTA files"),
    _VCF: ("vcf", "a VCF and --window"),
    _GENOTYPES: ("genotypes", "genotypes (a VCF without --window, or PLINK)"),
}


def _option(text: str, *flag: str, panel: str = _SEQUENCES, **more: Any) -> Any:
    return typer.Option(*flag, help=text, rich_help_panel=panel, **more)


def ingest(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            help="expression (.tsv), sequences (.fa, .fasta), variants (.vcf, .bcf), each also .gz, or PLINK's .bed",
            metavar="SOURCE",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="the cohort; an earlier one is replaced")],
    annotation: Annotated[
        Path | None,
        typer.Option("--annotation", "--meta", help="the samples' labels and donors, by sample: .csv or .tsv"),
    ] = None,
    join: Annotated[
        str | None, _option("its column of samples' names; default: samplesID, or the first", panel=_PEOPLE)
    ] = None,
    donor: Annotated[str | None, _option("its column of donors; default: a sample is a donor", panel=_PEOPLE)] = None,
    label: Annotated[
        str | None, _option("its column of classes; default: all are of one class, `all`", panel=_PEOPLE)
    ] = None,
    keep: Annotated[
        list[str] | None, _option("a further column to keep, such as hospitals; may be repeated", panel=_PEOPLE)
    ] = None,
    window: Annotated[int | None, _option("tokens a row; a VCF without it gives genotypes", min=1)] = None,
    stride: Annotated[int | None, _option("tokens from row to row; default: the window", min=1)] = None,
    k: Annotated[int, _option("letters a token", min=1)] = 1,
    region: Annotated[
        list[str] | None,
        _option("START-END in every record, or CONTIG:START-END of a VCF; from 1, both ends in it; may be repeated"),
    ] = None,
    unknown: Annotated[float, _option("largest share of unknown tokens in a row", min=0, max=1)] = 0.1,
    both_strands: Annotated[bool, _option("add every row's reverse complement", "--both-strands")] = False,
    rows_per_donor: Annotated[int | None, _option("most rows of one donor, chosen by their names", min=1)] = None,
    gaps: Annotated[
        Literal["drop", "unknown"], _option("of '-': left out, or kept as unknown letters", panel=_FASTA)
    ] = "unknown",
    aligned: Annotated[bool, _option("refuse records of unequal length", "--aligned", panel=_FASTA)] = False,
    reference: Annotated[Path | None, _option("FASTA file of the region's contig; needed", panel=_VCF)] = None,
    unphased: Annotated[
        Literal["refuse", "one"],
        _option("heterozygotes without phase; one: one sequence a person, alleles by coin", panel=_VCF),
    ] = "refuse",
    panel: Annotated[
        Path | None,
        _option("public list of variants (.tsv, .h5ad): take these, and count its ALTs", panel=_GENOTYPES),
    ] = None,
    ambiguous: Annotated[
        Literal["drop", "refuse", "keep"],
        _option("A/T and C/G of the panel; keep: the file has its strand", panel=_GENOTYPES),
    ] = "drop",
    bed: Annotated[Path | None, _option("take only the regions of this BED file", panel=_GENOTYPES)] = None,
    snv: Annotated[bool, _option("take only SNVs with one ALT", "--snv", panel=_GENOTYPES)] = False,
    maf: Annotated[
        float,
        _option("least frequency of the rarer allele, by the panel (af, maf) or by these people", panel=_GENOTYPES),
    ] = 0.0,
    missing: Annotated[float, _option("largest share of people not called at a variant", panel=_GENOTYPES)] = 1.0,
    haploid: Annotated[
        Literal["refuse", "single", "double"],
        _option("people with one allele: refused, or it counts once or twice", panel=_GENOTYPES),
    ] = "refuse",
    haplotypes: Annotated[
        bool, _option("also the alleles of each haplotype (layers hap0, hap1)", "--haplotypes", panel=_GENOTYPES)
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn expression, people's genotypes, or their sequences into an .h5ad file.

    Expression: genes × samples or samples × genes. A VCF gives genotypes, people × variants; with --window its people's
    sequences over a reference. Sequences are cut into rows of token codes, person by person.
    """
    with one_line_errors(as_json):
        from fedgenome.cohort.samples import read_samples
        from fedgenome.cohort.tokens import Tokens
        from fedgenome.cohort.windows import Region, WindowSpec

        kind = _kind(source, out, context, window)
        if kind == "expression":
            _say(_expression(source, out, annotation), as_json)
            return
        require(kind == "genotypes" or window is not None, "--window: the number of tokens a row")
        table = None if annotation is None else str(annotation)
        who = read_samples(table, join=join, donor=donor, label=label, keep=keep or ())
        if kind == "genotypes":
            taken = Taken(panel, ambiguous, bed, snv, maf, missing, haploid, haplotypes)
            _say(ingest_genotypes(source, out, who, taken), as_json)
            return
        spec = WindowSpec(
            length=window or 0,
            stride=stride,
            tokens=Tokens(k=k),
            gaps=gaps,
            most_unknown=unknown,
            both_strands=both_strands,
        )
        regions = [Region.parse(text) for text in region or ()]
        if kind == "vcf":
            records = _haplotypes(source, reference, regions, who, unphased)
        else:
            records = _fasta(source, regions, who, aligned)
        read = {"source": source.name, "reference": reference.name if reference else "", "unphased": unphased}
        _say(
            _sequences(out, records, spec, who, read | {"regions": ", ".join(map(str, regions))}, rows_per_donor),
            as_json,
        )


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
    if out.suffix != ".h5ad":
        raise SpecError(f"--out: expected a name that ends in .h5ad, got {out.name!r}")
    for option in context.command.params:
        panel, given = getattr(option, "rich_help_panel", None), context.get_parameter_source(option.name or "")
        if panel in _PANELS and kind not in _PANELS[panel] and given is ParameterSource.COMMANDLINE:
            raise SpecError(f"{option.opts[0]}: expected only with {_PANELS[panel][-1]}, got {source.name}")
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


def _fasta(source: Path, regions: list[Region], who: Samples, aligned: bool) -> Records:
    from fedgenome.cohort.sequences import fasta_records

    return lambda: fasta_records(str(source), who, regions, aligned=aligned)


def _haplotypes(
    source: Path, reference: Path | None, regions: list[Region], who: Samples, unphased: Unphased
) -> Records:
    from fedgenome.cohort.haplotypes import haplotype_records
    from fedgenome.cohort.windows import check_apart

    require(reference is not None, "--reference: the FASTA file of the region's contig")
    require(bool(regions), "--region CONTIG:START-END: what to read of the reference")
    check_apart(regions)
    at = str(reference)
    return lambda: (
        record for region in regions for record in haplotype_records(str(source), at, region, who, unphased=unphased)
    )


def _sequences(
    out: Path, records: Records, spec: WindowSpec, who: Samples, read: dict[str, str], most: int | None
) -> tuple[dict[str, Any], str]:
    from fedgenome.cohort.sequence_file import write_sequences

    cut = {
        "stride": spec.step,
        "gaps": spec.gaps,
        "most_unknown": spec.most_unknown,
        "strands": 2 if spec.both_strands else 1,
    }
    made = write_sequences(out, records, spec, kept=who.kept, provenance={**read, **cut}, rows_per_donor=most)
    told = {"file": str(out), "tokens": spec.tokens.size, "window": spec.length, **asdict(made)}
    text = f"{out}: {made.rows} rows × {spec.length} tokens of {made.donors} donors"
    if made.left_out or made.without:
        text += (
            f"; left out: {made.left_out} windows with too many unknown tokens, {made.without} donors without any other"
        )
    return told, text
