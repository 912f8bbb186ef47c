"""FASTA files of people: a record a sequence, one in memory at a time."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedgenome.cohort.samples import Samples
from fedgenome.cohort.windows import Record, Region, check_apart
from fedgenome.errors import SpecError

SUFFIXES = tuple(f"{name}{packed}" for name in (".fasta", ".fa", ".fna") for packed in ("", ".gz"))


def is_fasta(source: str) -> bool:
    """Return whether a source is a FASTA file, by its name.

    >>> is_fasta("people.fasta.gz"), is_fasta("people.vcf.gz")
    (True, False)
    """
    return source.endswith(SUFFIXES)


def fasta_records(
    path: str, who: Samples, regions: Sequence[Region] = (), *, aligned: bool = False
) -> Iterator[Record]:
    """Yield the sequences of a FASTA file, of each the regions in turn; one record is held at a time.

    Args:
        path: The file; a record's name, up to the first blank, is its sample.
        who: The samples.
        regions: Positions of the record as it stands, gaps counted; none: all of it.
        aligned: Every record must be as long as the first.

    Raises:
        SpecError: no FASTA, a name that is empty or comes twice, a sample that nobody knows, a length that does not
            fit; names file, record and its number.
    """
    if named := next((region for region in regions if region.name), None):
        raise SpecError(f"region {named}: expected START-END, as it is taken of every record of a FASTA file")
    check_apart(regions)
    number: dict[str, int] = {}
    length = -1
    for name, text in entries(path):
        where = f"{path}: record {name!r} (number {len(number) + 1})"
        if name in number:
            raise SpecError(f"{where}: expected every record once, number {number[name]} has that name too")
        number[name] = len(number) + 1
        length = len(text) if length < 0 else length
        if aligned and len(text) != length:
            raise SpecError(
                f"{where}: expected {length} letters, as the first record of the alignment, got {len(text)}"
            )
        donor, label, kept = who.of(name, where)
        for region in regions or (Region(1, len(text)),):
            if region.end > len(text):
                raise SpecError(
                    f"{where}: expected letters up to position {region.end} (region {region}), got {len(text)}"
                )
            letters = text[region.start - 1 : region.end]
            start = region.start - 1
            yield Record(name=name, donor=donor, text=letters, start=start, label=label, kept=kept, source=path)


def entries(path: str) -> Iterator[tuple[str, str]]:
    """Yield name and letters of every record of a FASTA file.

    Raises:
        SpecError: there is no such file, it is no FASTA or damaged, or a record has no name or no letters.
    """
    import pysam  # slow to import, and only this function needs it

    _check_fasta(path)
    n = 0
    with _quiet(path), pysam.FastxFile(path) as file:
        for n, entry in enumerate(file, start=1):
            if not entry.name or not entry.sequence or entry.quality is not None:
                seen = "one with qualities (FASTQ?)" if entry.quality else "no letters" if entry.name else "no name"
                raise SpecError(f"{path}: record number {n}: expected '>', a name, and lines of letters, got {seen}")
            yield entry.name, entry.sequence
    if not n:
        raise SpecError(f"{path}: expected records of FASTA ('>', a name, lines of letters), got none")


@contextmanager
def _quiet(path: str) -> Iterator[None]:
    """Say in one line what htslib finds wrong; its own lines are left out."""
    import pysam

    before = pysam.set_verbosity(0)
    try:
        yield
    except (ValueError, OSError) as fault:
        if isinstance(fault, SpecError):
            raise
        raise SpecError(f"{path}: expected a FASTA file that is whole, got a damaged one ({fault})") from None
    finally:
        pysam.set_verbosity(before)


def _check_fasta(path: str) -> None:
    """Refuse what pysam would read without a word: text before the first record, and folders, which it dies of."""
    file = Path(path)
    if not file.is_file():
        raise SpecError(f"{path}: expected a FASTA file, {'got a folder' if file.exists() else 'nothing is there'}")
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as text:
            first = text.read(1)
    except (OSError, EOFError) as fault:
        raise SpecError(f"{path}: expected a FASTA file, got one that cannot be read ({fault})") from None
    if first != b">":
        raise SpecError(
            f"{path}: expected a FASTA file, which begins with '>', got {first.decode('ascii', 'replace')!r}"
        )
