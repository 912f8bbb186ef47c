"""A person's sequence → windows of tokens, every sequence by itself: nothing is estimated over people."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from fedgenome.cohort.shard import Array
from fedgenome.cohort.tokens import Tokens
from fedgenome.errors import SpecError, require

GAP = "-"
_IUPAC = "ACGTUNRYSWKMBDHV"  # what a letter of DNA may be; those that are no letters of the vocabulary are unknown
_REGION = re.compile(r"(?:(?P<name>.+):)?(?P<start>\d{1,12})-(?P<end>\d{1,12})")


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of a sequence. Positions count from 1 and both ends are in it, as in FASTA and VCF tools.

    Attributes:
        start: First position.
        end: Last position.
        name: The contig of a reference; "" where every record is meant.
    """

    start: int
    end: int
    name: str = ""

    def __post_init__(self) -> None:
        require(1 <= self.start <= self.end, "a region of 1 <= start <= end", start=self.start, end=self.end)

    @classmethod
    def parse(cls, text: str) -> Region:
        """Return the region that ``text`` names.

        Raises:
            SpecError: it names none.

        >>> Region.parse("chrM:1-2000"), str(Region.parse("16024-16383"))
        (Region(start=1, end=2000, name='chrM'), '16024-16383')
        """
        found = _REGION.fullmatch(text.strip())
        if found is None:
            raise SpecError(f"region: expected START-END or NAME:START-END, counted from 1, got {text!r}")
        return cls(int(found["start"]), int(found["end"]), found["name"] or "")

    def __str__(self) -> str:
        return f"{self.name}:{self.start}-{self.end}" if self.name else f"{self.start}-{self.end}"


def check_apart(regions: Sequence[Region]) -> None:
    """Refuse regions that overlap: their rows would come twice.

    Raises:
        SpecError: two of them do.
    """
    for before, after in itertools.pairwise(sorted(regions, key=lambda one: (one.name, one.start))):
        if after.name == before.name and after.start <= before.end:
            raise SpecError(f"region {after}: expected regions that do not overlap, got {before} beside it")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """How sequences are cut into rows. All of it is public.

    Attributes:
        length: Tokens a window.
        stride: Tokens from the start of one window to the next; None: ``length``, so that windows do not overlap.
        tokens: The vocabulary.
        gaps: What becomes of "-": left out before anything is cut, or kept as an unknown letter.
        most_unknown: Largest share of unknown tokens that a window may have; windows with more are left out.
        both_strands: Every window is followed by its reverse complement, a row of the same donor.

    Raises:
        SpecError: a number is beyond its range.
    """

    length: int
    stride: int | None = None
    tokens: Tokens = field(default_factory=Tokens)
    gaps: Literal["drop", "unknown"] = "unknown"
    most_unknown: float = 0.1
    both_strands: bool = False

    def __post_init__(self) -> None:
        require(self.length >= 1, "window >= 1 tokens", window=self.length)
        require(self.step >= 1, "stride >= 1 tokens", stride=self.stride)
        require(0 <= self.most_unknown <= 1, "a share of unknown tokens from 0 to 1", share=self.most_unknown)
        require(self.gaps in ("drop", "unknown"), "gaps to be drop or unknown", gaps=self.gaps)
        if self.both_strands:
            self.tokens.reverse_complement(np.zeros(0, np.int64))  # refuses letters without a complement

    @property
    def step(self) -> int:
        """Tokens from the start of one window to the next."""
        return self.length if self.stride is None else self.stride


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One sequence of one person.

    Attributes:
        name: Names the record, once in a file.
        donor: Whose it is; a donor may have several records.
        text: Its letters.
        start: 0-based position of the first letter.
        label: The class of its rows.
        kept: Further obs columns of its rows.
        source: The file, for messages.
    """

    name: str
    donor: str
    text: str
    start: int = 0
    label: str = ""
    kept: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cut:
    """Windows of a record.

    Attributes:
        codes: (rows, length), of the vocabulary's smallest type.
        start: int64 (rows,), 0-based position of a window's first letter on the forward strand, in the record as it
            stands in its file: letters that were left out as gaps are counted.
        reverse: bool (rows,), True for a reverse complement.
        left_out: Windows left out for unknown tokens.
    """

    codes: Array
    start: Array
    reverse: Array
    left_out: int


def cut(record: Record, spec: WindowSpec) -> Cut:
    """Return the windows of a record, from its start; letters at its end that fill no window are left out.

    Raises:
        SpecError: a letter is none of DNA's, nor of the vocabulary's; names file, record and position.
    """
    raw = np.frombuffer(record.text.encode("ascii", "replace"), np.uint8)
    _check_letters(raw, record, spec.tokens)
    place = np.arange(len(raw))
    if spec.gaps == "drop":
        place = np.flatnonzero(raw != ord(GAP))
        raw = raw[place]
    codes = spec.tokens.encode(raw.tobytes())
    if len(codes) < spec.length:
        return _cut(np.zeros((0, spec.length), np.int64), np.zeros(0, np.int64), spec, 0)
    every = np.lib.stride_tricks.sliding_window_view(codes, spec.length)[:: spec.step]
    start = record.start + place[np.arange(len(every)) * spec.step * spec.tokens.k]
    known = (every == spec.tokens.unknown).mean(axis=1) <= spec.most_unknown
    return _cut(every[known], start[known], spec, int(np.count_nonzero(~known)))


def _cut(codes: Array, start: Array, spec: WindowSpec, left_out: int) -> Cut:
    reverse = np.zeros(len(codes), np.bool_)
    if spec.both_strands:
        codes = np.stack([codes, spec.tokens.reverse_complement(codes)], axis=1).reshape(-1, spec.length)
        start, reverse = np.repeat(start, 2), np.tile([False, True], len(start))
    return Cut(codes=codes.astype(spec.tokens.dtype), start=start, reverse=reverse, left_out=left_out)


def _check_letters(raw: Array, record: Record, tokens: Tokens) -> None:
    proper = np.zeros(256, np.bool_)
    allowed = _IUPAC + tokens.letters
    proper[list((allowed + allowed.lower() + GAP).encode())] = True
    if not (fits := proper[raw]).all():
        at = int(np.argmin(fits))
        rule = f"expected {', '.join(tokens.letters)}, N, another IUPAC code or {GAP!r}"
        where = f"{record.source}: record {record.name!r}, position {record.start + at + 1}"
        raise SpecError(f"{where}: {rule}, got {record.text[at]!r}")
