"""``fedgenome ingest`` of sequences: how they are read and cut, and what is told of windows that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fedgenome.errors import require

if TYPE_CHECKING:
    from fedgenome.cohort.samples import Samples
    from fedgenome.cohort.sequence_file import Records
    from fedgenome.cohort.variants import Unphased
    from fedgenome.cohort.windows import Region, WindowSpec


class Cut(NamedTuple):
    """The options of windows, as they were given."""

    window: int
    stride: int | None
    k: int
    regions: Sequence[str]
    unknown: float
    both_strands: bool
    rows_per_donor: int | None
    gaps: Literal["drop", "unknown"]

    def spec(self) -> WindowSpec:
        """Return what they ask for."""
        from fedgenome.cohort.tokens import Tokens
        from fedgenome.cohort.windows import WindowSpec

        return WindowSpec(
            length=self.window,
            stride=self.stride,
            tokens=Tokens(k=self.k),
            gaps=self.gaps,
            most_unknown=self.unknown,
            both_strands=self.both_strands,
        )


class Read(NamedTuple):
    """The options of files, as they were given: one of FASTA, two of a VCF."""

    aligned: bool
    reference: Path | None
    unphased: Unphased


def ingest_sequences(source: Path, out: Path, who: Samples, cut: Cut, read: Read) -> tuple[dict[str, Any], str]:
    """Write a cohort of windows; return what is told of it, for programs and for people."""
    from fedgenome.cohort.sequence_file import write_sequences
    from fedgenome.cohort.variants import is_vcf
    from fedgenome.cohort.windows import Region

    spec, regions = cut.spec(), [Region.parse(text) for text in cut.regions]
    records = (_haplotypes if is_vcf(str(source)) else _fasta)(source, regions, who, read)
    provenance: dict[str, str | int | float] = {
        "source": source.name,
        "reference": read.reference.name if read.reference else "",
        "unphased": read.unphased,
        "regions": ", ".join(map(str, regions)),
        "stride": spec.step,
        "gaps": spec.gaps,
        "most_unknown": spec.most_unknown,
        "strands": 2 if spec.both_strands else 1,
    }
    made = write_sequences(out, records, spec, kept=who.kept, provenance=provenance, rows_per_donor=cut.rows_per_donor)
    text = f"{out}: {made.rows} rows × {spec.length} tokens of {made.donors} donors"
    if made.left_out or made.without:
        lost = f"{made.left_out} windows with too many unknown tokens, {made.without} donors without any other"
        text += f"; left out: {lost}"
    return {"file": str(out), "tokens": spec.tokens.size, "window": spec.length, **asdict(made)}, text


def _fasta(source: Path, regions: Sequence[Region], who: Samples, read: Read) -> Records:
    from fedgenome.cohort.sequences import fasta_records

    return lambda: fasta_records(str(source), who, regions, aligned=read.aligned)


def _haplotypes(source: Path, regions: Sequence[Region], who: Samples, read: Read) -> Records:
    from fedgenome.cohort.haplotypes import haplotype_records
    from fedgenome.cohort.windows import check_apart

    require(read.reference is not None, "--reference: the FASTA file of the region's contig")
    require(bool(regions), "--region CONTIG:START-END: what to read of the reference")
    check_apart(regions)
    at = str(read.reference)
    return lambda: (
        record
        for region in regions
        for record in haplotype_records(str(source), at, region, who, unphased=read.unphased)
    )
