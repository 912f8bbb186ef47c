"""Files that people exchange: read within a bound, written whole, every failure one line with the file's name."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from fedgenome import files
from fedgenome.errors import RoleError, SpecError, WireError
from fedgenome.secure.identity import unhex

_KEY_BYTES = 32


@contextlib.contextmanager
def named(path: Path, expected: str) -> Iterator[None]:
    """Turn what the operating system refuses into one line.

    Raises:
        SpecError: names ``path`` and what was expected there.
    """
    try:
        yield
    except OSError as fault:
        raise SpecError(f"{path}: expected {expected}, {fault.strerror}") from None


def read(path: Path, what: str, most: int) -> bytes:
    """Return a file's bytes.

    Args:
        path: The file.
        what: What it should be, for the error.
        most: Bytes it may have.

    Raises:
        SpecError: there is none, or it is longer.
    """
    with named(path, what), path.open("rb") as file:
        blob = file.read(most + 1)
    if len(blob) > most:
        raise SpecError(f"{path}: expected {what} of at most {most} bytes")
    return blob


def read_json(path: Path, what: str, most: int) -> object:
    """Return what a JSON file holds.

    Raises:
        SpecError: there is none, it is longer than ``most`` bytes, or no JSON.
    """
    try:
        return json.loads(read(path, what, most).decode())
    except SpecError:
        raise
    except (ValueError, RecursionError) as fault:
        raise SpecError(f"{path}: expected JSON, {fault}") from None


def read_key(path: Path, what: str, remedy: str, closed: int = 0) -> bytes:
    """Return the 32 bytes that a file holds as lower-case hex digits.

    Args:
        path: The file.
        what: What it should be, for the error.
        remedy: What to do where it is not, for the error.
        closed: Permissions that the file must not have.

    Raises:
        SpecError: there is none, it holds no key, or others may use it.
    """
    with named(path, f"{what}; {remedy}"):
        found, blob = path.stat().st_mode & 0o777, path.read_bytes()
    try:
        key = unhex(blob.decode("ascii").strip(), what)
    except (WireError, UnicodeDecodeError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise SpecError(f"{path}: expected {2 * _KEY_BYTES} hex digits in lower case; {remedy}")
    if found & closed:
        raise SpecError(f"{path}: expected a key that others cannot use (mode 600), got {found:o}")
    return key


def replace(path: Path, data: bytes, what: str) -> None:
    """Put ``data`` in the place of ``path``, whole or not at all.

    Raises:
        SpecError: it cannot be written.
    """
    with named(path, f"a place for {what}"):
        files.replace(path, data)


def check_room(folder: Path, n_bytes: int = 1 << 16) -> None:
    """Write and remove a file: a full disk, or one that is read-only, shows before anybody waits for an answer.

    Raises:
        RoleError: it cannot be written; says how much is free.
    """
    probe = folder / ".room"
    try:
        files.write(probe, bytes(n_bytes))
    except OSError as fault:
        raise no_room(folder, fault.strerror) from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def no_room(folder: Path, why: str | None) -> RoleError:
    """Return the error of a role that could not write to its state folder."""
    free = shutil.disk_usage(folder).free >> 20
    return RoleError(
        f"{folder}: expected room to write, {why} ({free} MiB free); free some of this disk, then start again"
    )


def create(path: Path, data: bytes, mode: int, what: str) -> None:
    """Put ``data`` in a new file of exactly ``mode``.

    Raises:
        SpecError: something is there already, or it cannot be written.
    """
    with named(path, f"a place for {what}"):
        files.create(path, data, mode)
