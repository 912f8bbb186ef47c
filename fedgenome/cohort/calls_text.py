"""Plain lines of a VCF, read by NumPy: text, GT alone, everybody diploid, alleles of one digit.

Such a line's genotypes are four bytes each (``0|1`` and a tab), so that a block of lines is an array as it stands. A
line of any other form is left to a reader that knows all of them.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from fedgenome.cohort.shard import Array
from fedgenome.errors import SpecError

_CHUNK = 1 << 22  # bytes of text read at a time
_ZERO, _BAR = np.uint8(ord("0")), np.uint8(ord("|"))
_DOT = np.uint8((ord(".") - ord("0")) % 256)  # once the alleles' zero is taken off
_BETWEEN, _PHASED, _UNPHASED = (np.frombuffer(one, "<u4")[0] for one in (b"\0\xff\0\xff", b"\0|\0\t", b"\0/\0\t"))
_FIXED = 9  # columns before the genotypes


def plain_lines(path: str, people: int, keys: Collection[str], most: int) -> Iterator[dict[str, Any] | None]:
    """Yield the lines of a VCF as the fields of :class:`fedgenome.cohort.calls.Calls`; None before the first odd one.

    Args:
        path: A VCF that can be read as text, compressed or not.
        people: Number of samples.
        keys: What to keep of INFO.
        most: Genotypes in one part, at most, but for a single line.
    """
    with _text(path) as file:
        for lines in _blocks(file, max(1, most // people)):
            heads, calls = _split(lines, people)
            plain = 0
            if heads:
                part = _fields(heads, calls, people, keys)
                plain = len(part["positions"])
                if plain:
                    yield part
            if plain < len(lines):
                yield None
                return


def _text(path: str) -> IO[bytes]:
    with Path(path).open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else Path(path).open("rb")  # type: ignore[return-value]


def _blocks(file: IO[bytes], most: int) -> Iterator[list[bytes]]:
    """Yield the lines after the header, some at a time, without their ends."""
    rest, header = b"", True
    while text := _read(file):
        lines = (rest + text).split(b"\n")
        rest = lines.pop()
        if header:
            first = next((i for i, line in enumerate(lines) if not line.startswith(b"#")), None)
            lines, header = lines[first:] if first is not None else [], first is None
        for start in range(0, len(lines), most):
            yield lines[start : start + most]
    if rest and not (header and rest.startswith(b"#")):
        yield [rest]


def _read(file: IO[bytes]) -> bytes:
    try:
        return file.read(_CHUNK)
    except (EOFError, OSError, zlib.error) as fault:
        raise SpecError(f"{getattr(file, 'name', 'VCF')}: expected a VCF file that is whole, got {fault}") from None


def _split(lines: list[bytes], people: int) -> tuple[list[list[str]], list[bytes]]:
    """Return the fixed columns and the genotypes of the lines that are plain by their length, up to the first odd."""
    heads, calls = [], []
    for line in lines:
        cells = line.split(b"\t", _FIXED)
        if len(cells) <= _FIXED or cells[8] != b"GT" or len(cells[9]) != 4 * people - 1:
            break
        if not (all(cells) and cells[1].isdigit() and line.isascii()):
            break
        calls.append(cells.pop())
        heads.append([cell.decode("ascii") for cell in cells])
    return heads, calls


def _plain(values: Array, first: Array, second: Array) -> int:
    """Return how many lines there are before the first that is not of genotypes like ``0|1`` throughout."""
    between = values.view("<u4")[..., 0] & _BETWEEN
    fine = (between == _PHASED) | (between == _UNPHASED)
    for allele in (first, second):
        fine &= (allele <= 9) | (allele == _DOT)
    odd = ~fine.all(axis=1)
    return int(np.argmax(odd)) if odd.any() else len(values)


def _fields(heads: list[list[str]], calls: list[bytes], people: int, keys: Collection[str]) -> dict[str, Any]:
    """Return the fields of the lines before the first odd one."""
    values = np.frombuffer(b"\t".join(calls) + b"\t", np.uint8).reshape(len(heads), people, 4)
    first, second = (values[..., i] - _ZERO for i in (0, 2))
    plain = _plain(values, first, second)
    heads = heads[:plain]
    return {
        "contigs": tuple(head[0] for head in heads),
        "positions": tuple(int(head[1]) for head in heads),
        "ids": tuple("" if head[2] == "." else head[2] for head in heads),
        "alleles": tuple(_alleles(head[3], head[4]) for head in heads),
        "told": tuple(_told(head[7], keys) for head in heads),
        "first": _indices(first[:plain]),
        "second": _indices(second[:plain]),
        "phased": values[:plain, :, 1] == _BAR,
    }


def _indices(allele: Array) -> Array:
    if (unknown := allele == _DOT).any():
        allele[unknown] = 255  # −1 as int8
    return allele.view(np.int8)


def _alleles(ref: str, alt: str) -> tuple[str, ...]:
    return (ref.upper(), *(() if alt == "." else alt.upper().split(",")))


def _told(info: str, keys: Collection[str]) -> Mapping[str, str]:
    if not keys:
        return {}
    pairs = (entry.partition("=") for entry in info.split(";"))
    return {key: value for key, _, value in pairs if key in keys and value not in ("", ".")}
