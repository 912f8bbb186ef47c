"""Genotypes of a region out of a VCF or BCF file, checked against the reference: :class:`Variants`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedgenome.cohort.shard import Array
from fedgenome.cohort.windows import Region
from fedgenome.errors import SpecError

SUFFIXES = (".vcf", ".vcf.gz", ".bcf")
MISSING, ABSENT = -1, -2  # in place of an allele, as cyvcf2 has them: not called; no such haplotype
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_FEW = 8

Unphased = Literal["refuse", "one"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variants:
    """What a VCF says of a region.

    Attributes:
        samples: The people, in the file's order.
        positions: 1-based position of the first letter of each REF, as the file has them.
        alleles: REF and ALTs of each, upper case.
        calls: int8 (variants, haplotypes), index into ``alleles``, ``MISSING`` or ``ABSENT``; a sample's haplotypes
            stand side by side.
        ploidy: Haplotypes a sample, absent ones included.
    """

    samples: tuple[str, ...]
    positions: tuple[int, ...]
    alleles: tuple[tuple[str, ...], ...]
    calls: Array
    ploidy: int


def is_vcf(source: str) -> bool:
    """Return whether a source is a VCF or BCF file, by its name.

    >>> is_vcf("people.vcf.gz"), is_vcf("people.tsv.gz")
    (True, False)
    """
    return source.endswith(SUFFIXES)


def read_variants(path: str, region: Region, letters: str, unphased: Unphased = "refuse") -> Variants:
    """Read the variants that lie within a region; with an index beside the file only the region is read.

    What is held is one byte a variant and haplotype.

    Args:
        path: The VCF or BCF.
        region: Contig, first and last position.
        letters: The reference's letters of the region, upper case.
        unphased: What becomes of a heterozygote without phase. ``one``: every sample has one haplotype, made of first
            alleles, and at a heterozygote without phase of one of the two by a digest of sample and position.

    Raises:
        SpecError: the file cannot be read, nothing lies in the region, REF is not what the reference has, somebody's
            variant crosses the region's border, or a genotype has no phase; names file, sample and position.
    """
    positions, alleles, calls = [], [], []
    file = opened(path)
    samples = tuple(file.samples)
    for line in _lines(path, file, region):
        where = f"{path}: {line.CHROM}:{line.POS}"
        own = _calls(line, samples, where, unphased)
        if _within(line, own, region, letters, where):
            positions.append(int(line.POS))
            alleles.append((line.REF.upper(), *(one.upper() for one in line.ALT)))
            calls.append(own)
    if not positions:
        raise SpecError(f"{path}: expected variants within region {region}, got none")
    ploidy = 1 if unphased == "one" else 2
    return Variants(
        samples=samples, positions=tuple(positions), alleles=tuple(alleles), calls=np.stack(calls), ploidy=ploidy
    )


def opened(path: str) -> Any:
    """Return a VCF or BCF file as cyvcf2 has it.

    Raises:
        SpecError: there is no such file, or it is not whole.
    """
    import cyvcf2  # slow to import, and only this function needs it

    file = Path(path)
    if not file.is_file():
        raise SpecError(f"{path}: expected a VCF file, {'got a folder' if file.exists() else 'nothing is there'}")
    with file.open("rb") as raw:
        head = raw.read(14)
        if head[:2] == b"\x1f\x8b" and head[12:14] == b"BC":  # what is cut between two blocks is read without a word
            raw.seek(max(0, file.stat().st_size - len(_BGZF_END)))
            if raw.read() != _BGZF_END:
                raise SpecError(f"{path}: expected a VCF file that is whole, got one cut short")
    with readable(path):
        return cyvcf2.VCF(path)


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Say in one line what cyvcf2 cannot read."""
    try:
        yield
    except Exception as fault:
        if type(fault) not in (Exception, OSError):  # it raises Exception itself, which has no narrower name
            raise
        raise SpecError(f"{path}: expected a VCF file that is whole, got {fault}") from None


def _lines(path: str, file: Any, region: Region) -> Iterator[Any]:
    """Yield the lines of the region's contig; of the region alone where there is an index."""
    if not file.samples:
        raise SpecError(f"{path}: expected samples, got none")
    if region.name not in file.seqnames:
        some = ", ".join(file.seqnames[:_FEW]) or "none"
        raise SpecError(f"{path}: expected contig {region.name!r} of region {region}, got {some}")
    indexed = any(Path(path + end).exists() for end in (".tbi", ".csi"))
    with warnings.catch_warnings(), readable(path):
        warnings.filterwarnings("ignore", message="no intervals found", category=UserWarning)  # our own error says it
        for line in file(str(region)) if indexed else file:
            if region.name == line.CHROM:
                yield line


def _within(line: Any, calls: Array, region: Region, letters: str, where: str) -> bool:
    """Return whether a line lies in the region.

    Raises:
        SpecError: somebody's variant crosses its border, or REF is not what the reference has.
    """
    first, last = line.POS - region.start, line.POS - region.start + len(line.REF)
    if last <= 0 or first >= len(letters):
        return False
    if first < 0 or last > len(letters):
        if np.any((calls != 0) & (calls != ABSENT)):
            raise SpecError(f"{where}: expected variants within region {region}, got one across its border")
        return False
    if letters[first:last] != line.REF.upper():
        raise SpecError(f"{where}: expected REF {letters[first:last]!r}, as the reference has it, got {line.REF!r}")
    return True


def _calls(line: Any, samples: tuple[str, ...], where: str, unphased: Unphased) -> Array:
    """Return the call of every haplotype: int8 (haplotypes,)."""
    if line.genotype is None:
        raise SpecError(f"{where}: expected genotypes (GT), got none")
    told = np.asarray(line.genotype.array())
    calls, phased = told[:, :-1], told[:, -1].astype(np.bool_)
    if calls.shape[1] > 2:
        raise SpecError(f"{where}: expected one or two alleles a sample, got {calls.shape[1]}")
    if calls.shape[1] == 1:
        calls = np.column_stack([calls, np.full(len(calls), ABSENT)])
    loose = np.flatnonzero(~phased & (calls[:, 1] != ABSENT) & (calls[:, 0] != calls[:, 1]))
    if unphased == "one":
        calls = calls[:, :1].copy() if not loose.size else _chosen(calls, loose, samples, f"{line.CHROM}:{line.POS}")
    elif loose.size:
        rule = "expected phased genotypes (0|1); for one sequence a person: --unphased one"
        raise SpecError(f"{where}: sample {samples[loose[0]]!r}: {rule}, got one without phase")
    return calls.astype(np.int8).reshape(-1)


def _chosen(calls: Array, loose: Array, samples: tuple[str, ...], place: str) -> Array:
    """Return one allele a sample; of the loose ones by a coin, which hides nothing and favours neither."""
    taken = calls[:, :1].copy()
    for i in loose:
        coin = hashlib.sha256(f"{len(samples[i])}\n{samples[i]}{place}".encode()).digest()[0] & 1
        taken[i] = calls[i, coin]
    return taken
