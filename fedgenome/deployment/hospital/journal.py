"""A site's journal: who asked what and what came of it, a JSON line for each, kept for the hospital's auditors.

Lines hold terms of the protocol and never data. What the ledger then said is there as the hash of its last line,
so that the two can be laid side by side. A line is on the disk before the answer leaves.

========= ==========================================================================================
field     meaning
========= ==========================================================================================
time      when the answer was ready, UTC
event     ``join``, ``ask``, ``close``, as they came; ``approve``, ``revoke``, ``withdraw`` of the hospital itself
run       with ``study``, ``method``, ``step`` and ``attempt``: as the coordinator named them, or null
outcome   ``answered``, or the code of the refusal, with its ``rule``
charged   the mechanism that the ledger was charged by this answer, or null; under trust none ``none``
reserved  ε and δ that the ledger began to hold for the run, or null
ledger    hash of the ledger's last line
withdrawn keyed hash of a donor who withdrew, with ``unit`` and the ``runs`` that may hold the donor
========= ==========================================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from fedgenome.closing import Closing
from fedgenome.errors import SpecError
from fedgenome.federation.wire import Call

FILE = "journal.jsonl"  # in the state folder
_LONGEST = 255  # of a name that a coordinator gives
_TAIL = 1 << 18  # bytes that are looked at for the last lines


class Journal(Closing):
    """An append-only file; several processes may write to it, a line at a time.

    Args:
        path: The file; made, for its owner alone, if absent.

    Raises:
        SpecError: it cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise SpecError(f"{path}: expected a journal to write to, {fault.strerror}") from None
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":  # ends a line that a crash tore
            os.write(fd, b"\n")
        self._file = os.fdopen(fd, "a", encoding="utf-8")
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(self._file),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
            wrapper_class=structlog.BoundLogger,
        )

    def note(self, event: str, **facts: object) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            OSError: it is not: nothing may be answered.
        """
        self._log.info(event, **facts)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Give up the file. Repeating it does nothing."""
        with contextlib.suppress(OSError):  # a line that a full disk did not take; nothing was answered by it
            self._file.close()


def named(call: Call) -> dict[str, object]:
    """Return run, study, method, step and attempt as a call names them, each null unless it is a plain value."""
    query = call.header.get("query")
    told = query if isinstance(query, Mapping) else call.header
    names = {field: _name(told.get(field)) for field in ("run", "study", "method")}
    return names | {field: _number(told.get(field)) for field in ("step", "attempt")}


def charged(call: Call) -> object:
    """Return the mechanism of a query that was answered and charged."""
    return call.header["query"]["question"]["mechanism"] or "none"


def last(path: Path, count: int) -> list[dict[str, Any]]:
    """Return the last ``count`` whole lines of a journal, oldest first; fewer if they are long."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    return [found for line in lines if (found := _parsed(line))][-count:]


def every(path: Path) -> Iterator[dict[str, Any]]:
    """Yield all whole lines of a journal, oldest first; none if there is no journal."""
    if path.exists():
        with path.open("rb") as file:
            yield from (found for line in file if (found := _parsed(line)))


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:  # what a crash left of a line
        return None
    return found if isinstance(found, dict) else None


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= _LONGEST else None


def _number(value: object) -> int | None:
    return value if type(value) is int and abs(value) < 1 << 63 else None
