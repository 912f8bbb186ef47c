"""A chain of JSON lines: each holds a record and ``hash``, the SHA-256 of the last line's hash and the record.

It shows edits, moved and lost lines. It does not show a cut at the end of a line: whoever keeps the last
hash elsewhere sees that too. Bytes off the chain are allowed only as what a crash leaves of a line, and
only if the next record, ``torn``, tells of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgenome.errors import SpecError

Record = dict[str, Any]

GENESIS = hashlib.sha256(b"fedgenome ledger 1").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Link:
    """One record of a chain, as it was read.

    Attributes:
        number: Line of the file, from 1.
        record: Without its hash.
        before: Hash of the record before.
        head: Its own hash.
        end: Offset of the byte after its line.
    """

    number: int
    record: Record
    before: str
    head: str
    end: int


def follow(data: bytes, path: Path) -> Iterator[Link]:
    """Yield the records of a chain one by one; what follows the last one is torn.

    Raises:
        SpecError: a line was changed, moved or lost; names file and line.
    """
    head, end, records = GENESIS, 0, 0
    for number, (start, line) in enumerate(_whole_lines(data), 1):
        record = _parse(line)
        if record is None:
            continue
        told, fragment = record.pop("hash", None), data[end:start]
        explained = record == {"line": records, **torn(fragment)} if fragment else record.get("event") != "torn"
        if told != chained(head, record) or record.get("line") != records or not explained:
            raise SpecError(f"{path}: line {number}: expected the next record of the chain")
        records, end = records + 1, start + len(line)
        yield Link(number=number, record=record, before=head, head=str(told), end=end)
        head = str(told)


def torn(fragment: bytes) -> Record:
    """Return the record that tells of the bytes which a crash left of a line."""
    return {"event": "torn", "length": len(fragment), "sha256": hashlib.sha256(fragment).hexdigest()}


def canonical(record: Record) -> bytes:
    """Return the line of a record: sorted keys, no spaces, its end."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def chained(head: str, record: Record) -> str:
    """Return the hash of ``record`` after a line whose hash is ``head``."""
    return hashlib.sha256(head.encode() + canonical(record)).hexdigest()


def _whole_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while stop := data.find(b"\n", start) + 1:
        yield start, data[start:stop]
        start = stop


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
        whole = isinstance(record, dict) and canonical(record) == line  # no NaN, and one text for one record
    except (ValueError, RecursionError):
        return None
    return record if whole else None
