"""PLINK's binary genotypes (.bed beside .bim and .fam): people's two alleles in two bits, variant by variant.

The first allele of the .bim counts as ALT and the second as REF, as PLINK writes them from a VCF; a panel puts right
what is the other way round.
Source: PLINK 1.9's description of the .bed format, variant-major.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fedgenome.cohort.calls import BLOCK, Calls, Opened
from fedgenome.cohort.shard import repeated
from fedgenome.errors import SpecError

_MAGIC = bytes((0x6C, 0x1B, 0x01))
_FIRST = np.array([1, -1, 0, 0], np.int8)  # of 00 (ALT twice), 01 (not called), 10 (one of each), 11 (REF twice)
_SECOND = np.array([1, -1, 1, 0], np.int8)
_CONTIGS = {"23": "X", "24": "Y", "25": "X", "26": "MT"}


def is_plink(source: str) -> bool:
    """Return whether a source is a file of PLINK's genotypes, by its name.

    >>> is_plink("people.bed"), is_plink("people.vcf")
    (True, False)
    """
    return source.endswith(".bed")


def open_plink(path: str) -> Opened:
    """Open PLINK's genotypes; samples are the second column (IID) of the .fam.

    Raises:
        SpecError: one of the three files is absent, or they do not fit together.
    """
    samples = tuple(cells[1] for cells in _cells(path, ".fam"))
    if not samples:
        raise SpecError(f"{path}: expected people in the .fam file beside it, got none")
    if twice := repeated(samples):
        raise SpecError(f"{path}: expected every person of the .fam file once, got {twice[0]!r} again")
    return Opened(source=path, samples=samples, header="", lines=lambda _: _lines(path, len(samples)))


def _lines(path: str, people: int) -> Iterator[Calls]:
    variants = _cells(path, ".bim")
    width = -(-people // 4)  # bytes of a variant
    file = Path(path)
    if not file.is_file():
        raise SpecError(f"{path}: expected a .bed file of PLINK, nothing is there")
    with file.open("rb") as raw:
        if raw.read(3) != _MAGIC:
            raise SpecError(
                f"{path}: expected a .bed file of PLINK, variant by variant, got another (a BED of regions?)"
            )
        if (size := file.stat().st_size) != 3 + width * len(variants):
            rule = f"expected {len(variants)} variants of {people} people ({3 + width * len(variants)} bytes)"
            raise SpecError(f"{path}: {rule}, got {size} bytes")
        step = max(1, BLOCK // people)
        for start in range(0, len(variants), step):
            some = variants[start : start + step]
            packed = np.frombuffer(raw.read(width * len(some)), np.uint8).reshape(len(some), width)
            codes = (packed[:, :, None] >> np.array([0, 2, 4, 6], np.uint8) & 3).reshape(len(some), -1)[:, :people]
            yield Calls(
                contigs=tuple(_CONTIGS.get(cells[0], cells[0]) for cells in some),
                positions=tuple(int(cells[3]) for cells in some),
                ids=tuple("" if cells[1] == "." else cells[1] for cells in some),
                alleles=tuple((cells[5].upper(), *(() if cells[4] == "0" else (cells[4].upper(),))) for cells in some),
                told=({},) * len(some),
                first=_FIRST[codes],
                second=_SECOND[codes],
                phased=np.zeros(codes.shape, np.bool_),
            )


def _cells(path: str, suffix: str) -> list[list[str]]:
    """Return the cells of the .bim or .fam beside a .bed, six a line."""
    file = Path(path).with_suffix(suffix)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise SpecError(f"{file}: expected a table of PLINK, got {getattr(fault, 'strerror', None) or fault}") from None
    every = [line.split() for line in lines if line.strip()]
    for number, cells in enumerate(every, start=1):
        if len(cells) != 6 or (suffix == ".bim" and not cells[3].isdecimal()):
            rule = "expected six cells" + (", a whole position the fourth" if suffix == ".bim" else "")
            raise SpecError(f"{file}: line {number}: {rule}, got {len(cells)}: {' '.join(cells)[:80]!r}")
    return every
