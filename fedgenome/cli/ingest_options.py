"""The options of ``fedgenome ingest``, in panels by what a source is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

SEQUENCES, FASTA, VCF = "Sequences (with --window)", "FASTA alone", "Sequences of a VCF (with --window)"
PEOPLE, GENOTYPES = "People", "Genotypes (a VCF without --window, or PLINK)"
# Panel → the kinds of source that its options go with, and what that is called.
PANELS = {
    PEOPLE: ("fasta", "vcf", "genotypes", "files of sequences or variants"),
    SEQUENCES: ("fasta", "vcf", "--window (a VCF without it gives genotypes)"),
    FASTA: ("fasta", "FASTA files"),
    VCF: ("vcf", "a VCF and --window"),
    GENOTYPES: ("genotypes", "genotypes (a VCF without --window, or PLINK)"),
}


def _option(text: str, *flag: str, panel: str = SEQUENCES, **more: Any) -> Any:
    return typer.Option(*flag, help=text, rich_help_panel=panel, **more)


Source = Annotated[
    Path,
    typer.Argument(
        help="expression (.tsv), sequences (.fa, .fasta), variants (.vcf, .bcf), each also .gz, or PLINK's .bed",
        metavar="SOURCE",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="the cohort; an earlier one is replaced")]
Annotation = Annotated[
    Path | None,
    typer.Option("--annotation", "--meta", help="the samples' labels and donors, by sample: .csv or .tsv"),
]
Join = Annotated[str | None, _option("its column of samples' names; default: samplesID, or the first", panel=PEOPLE)]
Donor = Annotated[str | None, _option("its column of donors; default: a sample is a donor", panel=PEOPLE)]
Label = Annotated[str | None, _option("its column of classes; default: all are of one class, `all`", panel=PEOPLE)]
Keep = Annotated[
    list[str] | None, _option("a further column to keep, such as hospitals; may be repeated", panel=PEOPLE)
]
Window = Annotated[int | None, _option("tokens a row; a VCF without it gives genotypes", min=1)]
Stride = Annotated[int | None, _option("tokens from row to row; default: the window", min=1)]
K = Annotated[int, _option("letters a token", min=1)]
Region = Annotated[
    list[str] | None,
    _option("START-END in every record, or CONTIG:START-END of a VCF; from 1, both ends in it; may be repeated"),
]
Unknown = Annotated[float, _option("largest share of unknown tokens in a row", min=0, max=1)]
BothStrands = Annotated[bool, _option("add every row's reverse complement", "--both-strands")]
RowsPerDonor = Annotated[int | None, _option("most rows of one donor, chosen by their names", min=1)]
Gaps = Annotated[Literal["drop", "unknown"], _option("of '-': left out, or kept as unknown letters", panel=FASTA)]
Aligned = Annotated[bool, _option("refuse records of unequal length", "--aligned", panel=FASTA)]
Reference = Annotated[Path | None, _option("FASTA file of the region's contig; needed", panel=VCF)]
Unphased = Annotated[
    Literal["refuse", "one"],
    _option("heterozygotes without phase; one: one sequence a person, alleles by coin", panel=VCF),
]
Panel = Annotated[
    Path | None,
    _option("public list of variants (.tsv, .h5ad): take these, and count its ALTs", panel=GENOTYPES),
]
Ambiguous = Annotated[
    Literal["drop", "refuse", "keep"],
    _option("A/T and C/G of the panel; keep: the file has its strand", panel=GENOTYPES),
]
Bed = Annotated[Path | None, _option("take only the regions of this BED file", panel=GENOTYPES)]
Snv = Annotated[bool, _option("take only SNVs with one ALT", "--snv", panel=GENOTYPES)]
Maf = Annotated[
    float,
    _option("least frequency of the rarer allele, by the panel (af, maf) or by these people", panel=GENOTYPES),
]
Missing = Annotated[float, _option("largest share of people not called at a variant", panel=GENOTYPES)]
Haploid = Annotated[
    Literal["refuse", "single", "double"],
    _option("people with one allele: refused, or it counts once or twice", panel=GENOTYPES),
]
Haplotypes = Annotated[
    bool, _option("also the alleles of each haplotype (layers hap0, hap1)", "--haplotypes", panel=GENOTYPES)
]
