"""What a role answered, kept for ever, and its last answer's bytes: once only, over restarts (DESIGN §5).

One file holds a record for every answer ever given and, behind the last record, that answer's body.
The next record is written over the last body, so the file stays small and an answer costs one write
and one ``fdatasync``::

    RECORD   >4sBIQ32s   magic "FGON" | version 1 | bytes of the names | bytes of the body | SHA-256 of the body
    names                JSON: [key, digest]
    check    32 bytes    SHA-256 of the previous record's check (zeros at first), RECORD and names

A crash at any point leaves either no new record (nothing was sent yet) or a record whose body is
damaged: its key then counts as answered, and the bytes as lost. Checks are chained, so that what is
left of an old body never passes for a record. Whoever can write the file can forge it: the folder is
the role's own.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

from fedgenome import files
from fedgenome.closing import Closing
from fedgenome.errors import Refused, RoleError, SpecError

RECORD = struct.Struct(">4sBIQ32s")
MAGIC, VERSION = b"FGON", 1
_MARK = MAGIC + bytes([VERSION])  # a file of another version must not pass for an empty one: all would be forgotten
_CHECK_BYTES = 32
_MOST_NAMES = 1 << 16  # bytes of key and digest; a longer record is none
_ROOM_NAMES = 1 << 10  # bytes of key and digest that room is made for: ours have some 150
_PAGE = 1 << 16  # the file grows in such steps, so that most answers overwrite and change no metadata


class Once(Closing):
    """The memory of one role, open in one process at a time.

    Args:
        path: Its file; made, for its owner alone, if absent.

    Raises:
        SpecError: another process has it open, or it is no such file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise SpecError(f"{path}: expected to be its only user, but another process has it open") from None
        self._told: dict[str, str] = {}
        self._last = ""
        self._body = (0, 0, b"")  # where the last body begins, its length, its SHA-256
        self._check = bytes(_CHECK_BYTES)
        self._load()

    def told(self, key: str) -> str | None:
        """Return the digest that ``key`` was answered under, None if it never was."""
        return self._told.get(key)

    @property
    def last(self) -> tuple[str, str | None]:
        """Return the key answered last and its digest; an empty key before the first."""
        return self._last, self._told.get(self._last)

    def body(self, key: str) -> bytes | None:
        """Return the answer's bytes if ``key`` is the last one answered and its body is whole."""
        start, size, sha256 = self._body
        if key != self._last:
            return None
        blob = os.pread(self._file, size, start)
        return blob if hashlib.sha256(blob).digest() == sha256 else None

    def make_room(self, n_bytes: int) -> None:
        """Take the disk's room for the next answer; what can be answered is then not lost for want of it.

        Args:
            n_bytes: Of its body, at most.

        Raises:
            Refused: ``disk-full``: there is none. Nothing changed.
            RoleError: an earlier write failed.
        """
        self._check_open()
        end = self._body[0] + RECORD.size + _CHECK_BYTES + _ROOM_NAMES + n_bytes
        if end <= os.fstat(self._file).st_size:
            return
        try:
            os.posix_fallocate(self._file, 0, end + -end % _PAGE)
        except OSError as fault:
            raise Refused("disk-full", f"no room to keep an answer, so none is made: {fault.strerror}") from None

    def record(self, key: str, digest: str, body: Sequence[bytes | memoryview]) -> None:
        """Keep an answer; it is on the disk when this returns. The caller has asked :meth:`told` before.

        Raises:
            RoleError: it could not be written: nothing may be sent, now or later.
        """
        names = json.dumps([key, digest], separators=(",", ":")).encode()
        if len(names) > _MOST_NAMES:  # a record that cannot be read again would be forgotten, and all after it
            raise RoleError(f"{self._path.name}: expected names of at most {_MOST_NAMES} bytes, got {len(names)}")
        sha256, size = hashlib.sha256(), sum(len(piece) for piece in body)
        for piece in body:
            sha256.update(piece)
        head = RECORD.pack(MAGIC, VERSION, len(names), size, sha256.digest()) + names
        check = hashlib.sha256(self._check + head).digest()
        self._write([head, check, *body])
        start = self._body[0] + len(head) + _CHECK_BYTES
        self._take(key, digest, (start, size, sha256.digest()), check)

    def close(self) -> None:
        """Let others open it. Repeating it does nothing."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _take(self, key: str, digest: str, body: tuple[int, int, bytes], check: bytes) -> None:
        self._told[key], self._last, self._body, self._check = digest, key, body, check

    @property
    def is_open(self) -> bool:
        """False after :meth:`close`, and after a write that failed."""
        return self._file >= 0

    def _check_open(self) -> None:
        if self._file < 0:
            raise RoleError(f"{self._path.name}: closed after a failed write")

    def _write(self, pieces: list[bytes | memoryview]) -> None:
        self._check_open()
        place = self._body[0]
        end = place + sum(len(piece) for piece in pieces)
        if end > os.fstat(self._file).st_size:
            pieces = [*pieces, bytes(-end % _PAGE)]
        try:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    done = os.pwrite(self._file, view, place)
                    place, view = place + done, view[done:]
            os.fdatasync(self._file)
        except OSError as fault:
            self.close()  # what the disk holds is unknown until it is opened and read again
            raise RoleError(f"{self._path.name}: an answer could not be kept, {fault.strerror}") from None

    def _load(self) -> None:
        size = os.fstat(self._file).st_size
        while (found := self._next()) is not None:
            key, digest, body, check = found
            self._take(key, digest, body, check)
        if not self._told and size and os.pread(self._file, len(_MARK), 0) not in (_MARK, bytes(len(_MARK))):
            self.close()
            raise SpecError(f"{self._path}: expected a file of answers, found something else")
        files.sync(self._path.parent)  # a record in a file that vanishes would be none

    def _next(self) -> tuple[str, str, tuple[int, int, bytes], bytes] | None:
        """Read the record where the last body begins; None if there is none, or a torn one."""
        place = self._body[0]
        head = os.pread(self._file, RECORD.size, place)
        if len(head) < RECORD.size:
            return None
        magic, version, n_names, n_body, sha256 = RECORD.unpack(head)
        if (magic, version) != (MAGIC, VERSION) or n_names > _MOST_NAMES:
            return None
        rest = os.pread(self._file, n_names + _CHECK_BYTES, place + RECORD.size)
        names, check = rest[:n_names], rest[n_names:]
        if hashlib.sha256(self._check + head + names).digest() != check:
            return None
        key, digest = json.loads(names)
        return key, digest, (place + RECORD.size + n_names + _CHECK_BYTES, n_body, sha256), check
