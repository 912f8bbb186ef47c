"""Genotype calls as files hold them, some lines at a time: :class:`Calls`, out of VCF, BCF and PLINK files alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedgenome.cohort.calls_text import plain_lines
from fedgenome.cohort.shard import Array
from fedgenome.cohort.variants import ABSENT, opened, readable
from fedgenome.errors import SpecError

BLOCK = 1 << 20  # genotypes held at a time
_MOST_ALLELES = 127  # an index fits one byte


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calls:
    """Lines of a file, as they stand in it.

    Attributes:
        contigs: The contig of each line.
        positions: 1-based position of the first letter of each REF.
        ids: Names of the variants, "" without one.
        alleles: REF and ALTs of each, upper case.
        told: What INFO says of each, by key; only the keys asked for.
        first: int8 (lines, people), index into ``alleles`` or ``MISSING``.
        second: The same of the other haplotype; ``ABSENT`` where a person has one, or is not called at all.
        phased: bool (lines, people).
    """

    contigs: tuple[str, ...]
    positions: tuple[int, ...]
    ids: tuple[str, ...]
    alleles: tuple[tuple[str, ...], ...]
    told: tuple[Mapping[str, str], ...]
    first: Array
    second: Array
    phased: Array

    def place(self, line: int) -> str:
        """Return where a line is, for messages."""
        return f"{self.contigs[line]}:{self.positions[line]}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """A file of genotypes whose lines were not read yet.

    Attributes:
        source: The file, as the user named it.
        samples: The people, in the file's order.
        header: The text before the first line.
        lines: Reads the lines, each time anew; of INFO the keys that it is given.
    """

    source: str
    samples: tuple[str, ...]
    header: str
    lines: Callable[[Collection[str]], Iterator[Calls]]


def open_vcf(path: str) -> Opened:
    """Open a VCF or BCF file.

    Raises:
        SpecError: it cannot be read, or has no samples.
    """
    file = opened(path)
    samples = tuple(file.samples)
    if not samples:
        raise SpecError(f"{path}: expected samples, got none")
    return Opened(source=path, samples=samples, header=file.raw_header, lines=lambda keys: _lines(path, samples, keys))


def _lines(path: str, samples: tuple[str, ...], keys: Collection[str]) -> Iterator[Calls]:
    """Yield all lines: by NumPy as long as they are plain text, from the first that is not by cyvcf2."""
    done = 0
    if path.endswith((".vcf", ".vcf.gz")):
        for part in plain_lines(path, len(samples), keys, BLOCK):
            if part is None:
                break
            done += len(part["positions"])
            yield _checked(path, Calls(**part))
        else:
            return
    yield from _any_lines(path, samples, keys, done)


def _any_lines(path: str, samples: tuple[str, ...], keys: Collection[str], done: int) -> Iterator[Calls]:
    """Yield lines by cyvcf2, but for the first ``done``."""
    with readable(path):
        lines = itertools.islice(opened(path), done, None)
        while some := [_line(path, one, keys) for one in itertools.islice(lines, max(1, BLOCK // len(samples)))]:
            told = np.stack([one.pop("told_calls") for one in some])
            facts = {name: tuple(one[name] for one in some) for name in some[0]}
            first, second, phased = told[..., 0], told[..., 1], told[..., 2] > 0
            yield _checked(path, Calls(**facts, first=first, second=second, phased=phased))


def _line(path: str, line: Any, keys: Collection[str]) -> dict[str, Any]:
    """Return what a line of cyvcf2's says, copied: its memory is the next line's soon."""
    where = f"{path}: {line.CHROM}:{line.POS}"
    if "GT" not in line.FORMAT:
        raise SpecError(f"{where}: expected genotypes (GT), got none")
    told = np.asarray(line.genotype.array())
    if told.shape[1] > 3:
        raise SpecError(f"{where}: expected one or two alleles a sample, got {told.shape[1] - 1}")
    if told.shape[1] == 2:
        told = np.column_stack([told[:, 0], np.full(len(told), ABSENT), told[:, 1]])
    if len(line.ALT) >= _MOST_ALLELES:
        raise SpecError(f"{where}: expected fewer than {_MOST_ALLELES} alleles, got {len(line.ALT) + 1}")
    return {
        "contigs": line.CHROM,
        "positions": int(line.POS),
        "ids": line.ID or "",
        "alleles": (line.REF.upper(), *(one.upper() for one in line.ALT)),
        "told": {key: _text(value) for key in keys if (value := line.INFO.get(key)) is not None},
        "told_calls": np.clip(told, ABSENT, _MOST_ALLELES).astype(np.int8),
    }


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _checked(path: str, calls: Calls) -> Calls:
    """Return the calls.

    Raises:
        SpecError: an allele is called that the line does not have.
    """
    most = np.array([len(alleles) for alleles in calls.alleles])[:, None]
    if (odd := np.argwhere((calls.first >= most) | (calls.second >= most))).size:
        line, person = odd[0]
        seen = max(calls.first[line, person], calls.second[line, person])
        rule = f"expected alleles 0 to {most[line, 0] - 1}, got {seen} of person number {person + 1}"
        raise SpecError(f"{path}: {calls.place(line)}: {rule}")
    return calls
