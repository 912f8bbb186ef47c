"""Who withdrew at a site: keyed hashes of donors' ids in two files of its state folder, and never an id.

``withdrawal.key`` is made once; ``withdrawn`` holds a line for each donor, the HMAC-SHA256 of the id under it. They
belong together: one without the other is damage, and an agent that finds it answers nothing. Lines are only added.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedgenome import files
from fedgenome.cohort.shard import Array, Shard
from fedgenome.deployment import disk
from fedgenome.errors import SpecError

FILE, KEY = "withdrawn", "withdrawal.key"  # in the state folder
_KIND = b"fedgenome withdrawal 1\0"
_KEY_BYTES = 32
_MARK = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The marks of those who withdrew.

    Attributes:
        key: What they are made with; empty before the first withdrawal.
        found: Every mark, 64 hex digits each.
    """

    key: bytes
    found: frozenset[str]

    def of(self, donor: str) -> str:
        """Return the mark of a donor's id."""
        return hmac.digest(self.key, _KIND + donor.encode(), "sha256").hex()

    def present(self, donors: Sequence[str]) -> Array:
        """Return which donors did not withdraw, bool (donors,)."""
        return np.array([not self.found or self.of(donor) not in self.found for donor in donors], np.bool_)


def load(state: Path) -> Marks:
    """Read who withdrew.

    Raises:
        SpecError: a file is damaged, missing without the other, or the key is open to others.
    """
    path = state / FILE
    try:
        text = path.read_text(encoding="ascii") if path.exists() else None
    except (OSError, UnicodeDecodeError):
        raise SpecError(f"{path}: expected a file of withdrawals that can be read") from None
    key = _key(state / KEY)
    if (text is None) != (not key) and text != "":  # it is made empty, before the key
        raise SpecError(f"{path}: expected {FILE} and {KEY} together, got one; restore the other from a copy")
    lines = (text or "").splitlines()
    for number, line in enumerate(lines, 1):
        if not _MARK.fullmatch(line):
            raise SpecError(f"{path}: line {number}: expected 64 hex digits; restore the file from a copy")
    return Marks(key=key, found=frozenset(lines))


def add(state: Path, donor: str) -> bool:
    """Add a donor; it is on the disk when this returns. Return False if it was there already.

    Raises:
        SpecError: see :func:`load`.
    """
    load(state)
    with _alone(state):
        if not (state / KEY).exists():
            files.create(state / KEY, secrets.token_hex(_KEY_BYTES).encode(), 0o600)
        marks = load(state)
        mark = marks.of(donor)
        if mark in marks.found:
            return False
        # In their own order, so that the file does not tell who went after whom.
        files.replace(state / FILE, "".join(f"{one}\n" for one in sorted(marks.found | {mark})).encode())
    return True


class Present:
    """Leaves out who withdrew; the file is read again whenever it has changed.

    Args:
        state: The site's state folder.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self._last: tuple[object, Shard, Shard] | None = None

    def __call__(self, shard: Shard) -> Shard:
        """Return the rows of those who did not withdraw: the shard itself if that is everybody.

        Nobody else's randomness changes: coins and draws are keyed by a donor's own id.

        Raises:
            SpecError: see :func:`load`.
        """
        stamp = _stamp(self._state / FILE), _stamp(self._state / KEY)  # before the reading: a later change shows
        if self._last is None or self._last[0] != stamp or self._last[1] is not shard:
            self._last = stamp, shard, without(shard, load(self._state))
        return self._last[2]


def without(shard: Shard, marks: Marks) -> Shard:
    """Return a shard without the rows of those who withdrew."""
    kept = marks.present(shard.donors)
    return shard if kept.all() else shard.take(kept)


def _key(path: Path) -> bytes:
    if not path.exists():
        return b""
    return disk.read_key(path, "the key of withdrawals", "restore the file from a copy", 0o077)


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Keep other commands from adding meanwhile."""
    if not (state / FILE).exists():
        with contextlib.suppress(FileExistsError):
            files.create(state / FILE, b"", 0o600)
    with (state / ".withdrawn.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
