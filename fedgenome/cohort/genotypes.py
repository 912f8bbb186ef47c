"""Calls → dosages: a column for every alternative allele that is asked for, some columns at a time.

A dosage is how many copies of one ALT a person has: 0, 1 or 2; −1 where a copy is not called. A line with several ALTs
gives a column each, the others of its alleles counting nothing there; ``*`` (deleted by another line) gives none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from fedgenome.cohort.annotations import Effect, effects, layouts
from fedgenome.cohort.calls import Calls, Opened
from fedgenome.cohort.intervals import Intervals, bare
from fedgenome.cohort.shard import Array
from fedgenome.cohort.variant_panel import Ambiguous, VariantPanel
from fedgenome.cohort.variants import ABSENT, MISSING
from fedgenome.errors import SpecError, require

Haploid = Literal["refuse", "single", "double"]
_LETTERS = frozenset("ACGT")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenotypeSpec:
    """Which variants to take and how to count.

    Attributes:
        haploid: People with one haplotype are refused, or their allele counts once or twice.
        haplotypes: Also give each haplotype's alleles, which must be phased.
        snv: Take only lines of one REF letter and one ALT letter.
        regions: Take only these.
        panel: Take only its variants, and count its ALTs.
        ambiguous: What becomes of a panel's A/T and C/G variants.
        least_frequency: Of the rarer allele: the panel's, where it has frequencies, else of these people.
        most_missing: Largest share of people not called.
    """

    haploid: Haploid = "refuse"
    haplotypes: bool = False
    snv: bool = False
    regions: Intervals | None = None
    panel: VariantPanel | None = None
    ambiguous: Ambiguous = "drop"
    least_frequency: float = 0.0
    most_missing: float = 1.0

    def __post_init__(self) -> None:
        require(0 <= self.least_frequency <= 0.5, "0 <= least_frequency <= 0.5", least_frequency=self.least_frequency)
        require(0 <= self.most_missing <= 1, "0 <= most_missing <= 1", most_missing=self.most_missing)

    @property
    def selected(self) -> str:
        """What of these people the choice of variants tells, in words; "" where it is public."""
        read = []
        if self.least_frequency and not self._public_frequencies:
            read.append(f"frequency of the rarer allele >= {self.least_frequency:g}")
        if self.most_missing < 1:
            read.append(f"share not called <= {self.most_missing:g}")
        return ", ".join(read)

    @property
    def _public_frequencies(self) -> bool:
        return self.panel is not None and self.panel.frequencies


class Variant(NamedTuple):
    """One column: an alternative allele at its place."""

    contig: str
    position: int
    id: str
    ref: str
    alt: str
    effect: Effect

    @property
    def name(self) -> str:
        """How cohorts call it."""
        return f"{self.contig}:{self.position}:{self.ref}:{self.alt}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Some columns.

    Attributes:
        variants: What they are.
        dosage: int8 (variants, people).
        haplotypes: int8 (variants, people) of either haplotype, 0, 1 or −1; none unless asked for.
    """

    variants: tuple[Variant, ...]
    dosage: Array
    haplotypes: tuple[Array, ...]


def blocks(file: Opened, spec: GenotypeSpec, counts: Counter[str]) -> Iterator[Block]:
    """Yield the columns of a file; a block of lines is held at a time.

    Args:
        file: Of any format.
        spec: What to take of it.
        counts: Where it is counted what was taken and left out, and why.

    Raises:
        SpecError: the file is damaged, a person is haploid, or a heterozygote has no phase where haplotypes are asked
            for; names file, place and sample.
    """
    layout = layouts(file.header)
    for calls in file.lines(tuple(layout)):
        variants, lines, alleles = _chosen(calls, spec, layout, counts)
        if not variants:
            continue
        first, second = _pairs(file, calls, lines, spec)
        dosage = _copies(first, second, alleles)
        kept = _common(variants, dosage, second, spec, counts)
        counts["variants"] += int(kept.sum())
        both = _haplotypes(first, second, alleles) if spec.haplotypes else ()
        if not kept.all():
            variants = [one for one, keep in zip(variants, kept, strict=True) if keep]
            dosage, both = dosage[kept], tuple(one[kept] for one in both)
        if variants:
            yield Block(variants=tuple(variants), dosage=dosage, haplotypes=both)


def _chosen(
    calls: Calls, spec: GenotypeSpec, layout: Mapping[str, tuple[str, ...]], counts: Counter[str]
) -> tuple[list[Variant], Array, Array]:
    """Return the columns that a block of lines gives, the line of each, and the index of the allele it counts."""
    variants: list[Variant] = []
    lines, indices = [], []
    counts["lines"] += len(calls.positions)
    for i, (contig, position, alleles) in enumerate(zip(calls.contigs, calls.positions, calls.alleles, strict=True)):
        if spec.regions is not None and not spec.regions.holds(contig, position):
            counts["outside"] += 1
        elif spec.snv and not (len(alleles) == 2 and _LETTERS.issuperset(alleles)):
            counts["other than SNV"] += 1
        else:
            found = _of_line(calls, i, spec, effects(calls.told[i], layout, alleles), counts)
            variants += (variant for variant, _ in found)
            indices += [index for _, index in found]
            lines += [i] * len(found)
    return variants, np.array(lines, np.int64), np.array(indices, np.int8)


def _of_line(
    calls: Calls, i: int, spec: GenotypeSpec, told: tuple[Effect, ...], counts: Counter[str]
) -> list[tuple[Variant, int]]:
    contig, position, alleles = calls.contigs[i], calls.positions[i], calls.alleles[i]
    if spec.panel is None:
        ref, *alts = alleles
        counts["deleted (*)"] += alts.count("*")
        return [
            (Variant(contig, position, calls.ids[i], ref, alt, told[k]), k + 1)
            for k, alt in enumerate(alts)
            if alt != "*"
        ]
    found = spec.panel.matches(contig, position, alleles, spec.ambiguous, counts)
    counts["not in the panel"] += (bare(contig), position) not in spec.panel.at
    return [
        (Variant(one.contig, position, one.id or calls.ids[i], one.ref, one.alt, told[max(index - 1, 0)]), index)
        for one, index in found
    ]


def _pairs(file: Opened, calls: Calls, lines: Array, spec: GenotypeSpec) -> tuple[Array, Array]:
    """Return both alleles of each column's line.

    Raises:
        SpecError: somebody has one, or one of two without phase where haplotypes are asked for.
    """
    whole = len(lines) == len(calls.positions) and bool((np.diff(lines) == 1).all())
    first, second = (calls.first, calls.second) if whole else (calls.first[lines], calls.second[lines])
    if (single := (second == ABSENT) & (first >= 0)).any():
        if spec.haploid == "refuse":
            rule = "expected two alleles (--haploid single or double counts one once or twice), got one"
            raise _at(file, calls, lines, single, rule)
        second = np.where(single, first, second) if spec.haploid == "double" else second
    if spec.haplotypes:
        phased = calls.phased if whole else calls.phased[lines]
        loose = ~phased & (first != second) & (first >= 0) & (second >= 0)
        if loose.any():
            raise _at(
                file, calls, lines, loose, "expected phased genotypes (0|1) for haplotypes, got one without phase"
            )
    return first, second


def _at(file: Opened, calls: Calls, lines: Array, odd: Array, rule: str) -> SpecError:
    line, person = np.argwhere(odd)[0]
    return SpecError(f"{file.source}: {calls.place(int(lines[line]))}: sample {file.samples[person]!r}: {rule}")


def _copies(first: Array, second: Array, alleles: Array) -> Array:
    """Return how often each column's allele comes: int8 (columns, people), −1 where a copy is not called."""
    wanted = alleles[:, None]
    copies: Array = (first == wanted).view(np.int8) + (second == wanted).view(np.int8)
    unknown = (first == MISSING) | (second == MISSING)
    if unknown.any():
        copies[unknown] = MISSING
    return copies


def _haplotypes(first: Array, second: Array, alleles: Array) -> tuple[Array, ...]:
    wanted = alleles[:, None]
    return tuple(np.where(one < 0, np.int8(MISSING), (one == wanted).view(np.int8)) for one in (first, second))


def _common(variants: list[Variant], dosage: Array, second: Array, spec: GenotypeSpec, counts: Counter[str]) -> Array:
    """Return which columns are neither too rare nor too often missing."""
    kept = np.ones(len(variants), np.bool_)
    if spec.most_missing < 1:
        kept = (dosage < 0).mean(axis=1) <= spec.most_missing
        counts["too often missing"] += int(np.count_nonzero(~kept))
    if spec.least_frequency:
        frequency = _frequencies(variants, dosage, second, spec)
        rare = np.minimum(frequency, 1 - frequency) < spec.least_frequency
        counts["too rare"] += int(np.count_nonzero(rare & kept))
        kept &= ~rare
    return kept


def _frequencies(variants: list[Variant], dosage: Array, second: Array, spec: GenotypeSpec) -> Array:
    """Return the frequency of each ALT: the panel's, or of the alleles called here (0 where none is)."""
    if spec.panel is not None and spec.panel.frequencies:
        return np.array([spec.panel.frequency(one.contig, one.position, one.ref, one.alt) for one in variants])
    called = np.count_nonzero(dosage >= 0, axis=1) + np.count_nonzero((dosage >= 0) & (second >= 0), axis=1)
    frequency: Array = np.maximum(dosage, 0).sum(axis=1, dtype=np.int64) / np.maximum(called, 1)
    return frequency
