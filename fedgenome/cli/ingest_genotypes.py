"""``fedgenome ingest`` of genotypes: which variants to take, and what is told of those that were not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fedgenome.cohort.genotypes import GenotypeSpec, Haploid
    from fedgenome.cohort.samples import Samples
    from fedgenome.cohort.variant_panel import Ambiguous


class Taken(NamedTuple):
    """The options, as they were given."""

    panel: Path | None
    ambiguous: Ambiguous
    bed: Path | None
    snv: bool
    maf: float
    missing: float
    haploid: Haploid
    haplotypes: bool

    def spec(self) -> GenotypeSpec:
        """Return what they ask for, with the files they name read."""
        from fedgenome.cohort.genotypes import GenotypeSpec
        from fedgenome.cohort.intervals import read_bed
        from fedgenome.cohort.variant_panel import read_variant_panel

        return GenotypeSpec(
            haploid=self.haploid,
            haplotypes=self.haplotypes,
            snv=self.snv,
            regions=None if self.bed is None else read_bed(str(self.bed)),
            panel=None if self.panel is None else read_variant_panel(str(self.panel)),
            ambiguous=self.ambiguous,
            least_frequency=self.maf,
            most_missing=self.missing,
        )

    @property
    def provenance(self) -> dict[str, str | int | float]:
        """What decided which variants were taken, by file names alone."""
        files = {"panel": self.panel, "bed": self.bed}
        named: dict[str, str | int | float] = {name: path.name if path else "" for name, path in files.items()}
        return named | {name: getattr(self, name) for name in ("ambiguous", "snv", "maf", "missing", "haploid")}


def ingest_genotypes(source: Path, out: Path, who: Samples, taken: Taken) -> tuple[dict[str, Any], str]:
    """Write a cohort of genotypes; return what is told of it, for programs and for people."""
    from fedgenome.cohort.calls import open_vcf
    from fedgenome.cohort.genotype_file import people, write_genotypes
    from fedgenome.cohort.genotypes import blocks
    from fedgenome.cohort.plink import is_plink, open_plink

    spec, counts = taken.spec(), Counter[str]()
    file = open_plink(str(source)) if is_plink(str(source)) else open_vcf(str(source))
    rows = people(str(source), file.samples, who)
    read = {"source": source.name, **taken.provenance}
    written = write_genotypes(
        out, blocks(file, spec, counts), rows, kept=who.kept, selected=spec.selected, provenance=read
    )
    if spec.panel is not None:
        counts["of the panel, absent"] = spec.panel.size - written
    told = {"file": str(out), "rows": len(rows), "variants": written, "selected": spec.selected}
    others = {why: n for why, n in counts.items() if n and why not in ("lines", "variants")}
    text = f"{out}: {len(rows)} people × {written} variants of {counts['lines']} lines"
    text += "".join(f"; {why}: {n}" for why, n in others.items())
    if spec.panel is None:
        text += "; which variants there are, the file says: if they were found in these people, take a public --panel"
    if spec.selected:
        text += f"; chosen by these people ({spec.selected}): for cohorts declared public only"
    return told | {"lines": counts["lines"], "counts": others}, text
