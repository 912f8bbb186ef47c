"""People's own sequences of a region: a reference with each person's variants put in, every haplotype by itself.

A variant is trimmed to what it changes, so that an indel and a SNV of its anchor base do not meet. An allele that was
not called makes the reference's letters unknown (N). An allele that is not letters, and two variants of one haplotype
that change the same letters, are refused: nobody's sequence is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from fedgenome.cohort.samples import Samples
from fedgenome.cohort.sequences import entries
from fedgenome.cohort.shard import Array
from fedgenome.cohort.variants import ABSENT, MISSING, Unphased, Variants, read_variants
from fedgenome.cohort.windows import Record, Region
from fedgenome.errors import SpecError

_STAR = "*"  # the allele of a haplotype of which a deletion took the position
_LETTERS = frozenset("ACGTN")


@dataclass(frozen=True, slots=True, order=True)
class _Edit:
    """Letters [start, end) of the region, from 0, become ``text``; a star only says that they are gone already.

    ``first`` and ``last`` are the ends of REF as the file has it, before it was trimmed.
    """

    start: int
    star: bool
    end: int
    first: int
    last: int
    text: str


def haplotype_records(
    path: str, reference: str, region: Region, who: Samples, *, unphased: Unphased = "refuse"
) -> Iterator[Record]:
    """Yield the sequence of every haplotype of a VCF, in the order of its samples.

    A record is named SAMPLE.1:REGION, or SAMPLE.2:REGION for the second haplotype. Positions count the letters of the
    person's own sequence from the region's start on: behind an indel they are not the reference's.

    Args:
        path: The VCF or BCF; see :func:`fedgenome.cohort.variants.read_variants`.
        reference: A FASTA file that holds the contig.
        region: Contig, first and last position.
        who: The samples.
        unphased: What becomes of a heterozygote without phase.

    Raises:
        SpecError: a file does not fit, a sample is unknown, or a haplotype has no one sequence; names file, sample and
            position.
    """
    letters = reference_letters(reference, region)
    variants = read_variants(path, region, letters, unphased)
    for i, sample in enumerate(variants.samples):
        donor, label, kept = who.of(sample, f"{path}: sample {sample!r}")
        for h in range(variants.ploidy):
            where = f"{path}: sample {sample!r}, haplotype {h + 1}"
            calls = variants.calls[:, i * variants.ploidy + h]
            if not _is_there(calls, variants, where):
                continue
            text = put_in(letters, region.start, variants, calls, where)
            name = f"{sample}.{h + 1}:{region}"
            start = region.start - 1
            yield Record(name=name, donor=donor, text=text, start=start, label=label, kept=kept, source=path)


def reference_letters(path: str, region: Region) -> str:
    """Return a reference's letters of a region, upper case.

    Raises:
        SpecError: no such file, or it does not hold the region.
    """
    for name, text in entries(path):
        if name == region.name:
            if region.end > len(text):
                raise SpecError(f"{path}: expected {name} up to position {region.end}, got {len(text)} letters")
            return text[region.start - 1 : region.end].upper()
    raise SpecError(f"{path}: expected the contig {region.name!r} of region {region}, got none of that name")


def put_in(letters: str, start: int, variants: Variants, calls: Array, where: str) -> str:
    """Return a haplotype's letters of a region.

    Args:
        letters: The reference's.
        start: 1-based position of the first.
        variants: Those of the region.
        calls: The haplotype's, (variants,).
        where: Whose it is, for messages.

    Raises:
        SpecError: an allele is not letters, or two variants change the same ones; names the position.
    """
    edits = [
        _edit(
            variants.alleles[i],
            int(calls[i]),
            variants.positions[i] - start,
            f"{where}, position {variants.positions[i]}",
        )
        for i in np.flatnonzero(calls)
    ]
    parts, reach, inserted = [], 0, _Edit(-1, False, -1, -1, -1, "")
    for edit in sorted(edits):
        at = f"{where}, position {start + edit.start}"
        if edit.star:
            if edit.end > reach:
                raise SpecError(f"{at}: expected a deletion across the allele '*', got none")
            continue
        both = edit.start == edit.end == inserted.end and edit.first < inserted.last
        if edit.start < reach or both:
            raise SpecError(f"{at}: expected variants of one haplotype that do not overlap, got two")
        parts += [letters[reach : edit.start], edit.text]
        reach = edit.end
        inserted = edit if edit.start == edit.end else inserted
    return "".join((*parts, letters[reach:]))


def _edit(alleles: tuple[str, ...], call: int, first: int, where: str) -> _Edit:
    """Return what a call other than REF does to the region's letters, trimmed to what it changes."""
    ref = alleles[0]
    last = first + len(ref)
    if call == MISSING:
        return _Edit(first, False, last, first, last, "N" * len(ref))
    alt = alleles[call]
    if alt == _STAR:
        return _Edit(first, True, last, first, last, "")
    if not alt or not _LETTERS.issuperset(alt):
        raise SpecError(f"{where}: expected an allele of letters A, C, G, T, N, got {alt!r}")
    before = _shared(ref, alt)
    ref, alt = ref[before:], alt[before:]
    after = _shared(ref[::-1], alt[::-1])
    start = first + before
    return _Edit(start, False, last - after, first, last, alt[: len(alt) - after])


def _shared(one: str, other: str) -> int:
    """Return how many letters two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _is_there(calls: Array, variants: Variants, where: str) -> bool:
    """Return whether a sample has a haplotype: of a haploid one there is no second."""
    absent = calls == ABSENT
    if absent.any() and not absent.all():
        at = variants.positions[int(np.argmax(absent))]
        rule = "expected one allele throughout the region or two throughout (choose another region)"
        raise SpecError(f"{where}: {rule}, got one at position {at} and two elsewhere")
    return not absent.any()
