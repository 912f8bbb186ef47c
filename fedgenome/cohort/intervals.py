"""Regions of a genome, out of a BED file: :class:`Intervals`."""

from __future__ import annotations

import gzip
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedgenome.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Stretches of contigs, sorted and apart.

    Attributes:
        source: The file.
        starts: Of each contig the last positions before its stretches, rising.
        ends: Their last positions.
    """

    source: str
    starts: Mapping[str, tuple[int, ...]]
    ends: Mapping[str, tuple[int, ...]]

    def holds(self, contig: str, position: int) -> bool:
        """Return whether a 1-based position lies in one of them."""
        starts = self.starts.get(bare(contig), ())
        i = bisect_right(starts, position - 1) - 1
        return i >= 0 and position <= self.ends[bare(contig)][i]


def bare(contig: str) -> str:
    """Return a contig's name without ``chr``, as other files may spell it.

    >>> bare("chr15"), bare("15"), bare("chrM")
    ('15', '15', 'MT')
    """
    name = contig[3:] if contig[:3].lower() == "chr" else contig
    return "MT" if name == "M" else name


def read_bed(path: str) -> Intervals:
    """Read a BED file (contig, start, end; 0-based, the end not in it), plain or .gz; stretches may overlap.

    Raises:
        SpecError: no such file, or a line that names no stretch; with its number.
    """
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    opened = gzip.open if path.endswith(".gz") else open
    try:
        with opened(Path(path), "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                cells = line.split()
                if not cells or cells[0].startswith("#") or cells[0] in ("track", "browser"):
                    continue
                if len(cells) < 3 or not (cells[1].isdecimal() and cells[2].isdecimal()) or _length(cells) <= 0:
                    rule = "expected contig, start and end of a BED file, start before end"
                    raise SpecError(f"{path}: line {number}: {rule}, got {line.strip()[:80]!r}")
                found[bare(cells[0])].append((int(cells[1]), int(cells[2])))
    except (OSError, EOFError, UnicodeDecodeError) as fault:
        raise SpecError(f"{path}: expected a BED file, got {getattr(fault, 'strerror', None) or fault}") from None
    if not found:
        raise SpecError(f"{path}: expected a BED file with at least one line, got none")
    merged = {contig: _merged(every) for contig, every in found.items()}
    return Intervals(
        source=path,
        starts={contig: tuple(start for start, _ in every) for contig, every in merged.items()},
        ends={contig: tuple(end for _, end in every) for contig, every in merged.items()},
    )


def _length(cells: list[str]) -> int:
    return int(cells[2]) - int(cells[1])


def _merged(every: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(every):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
