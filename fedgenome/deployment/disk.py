"""Files that people exchange: read within a bound, written whole, every failure one line with the file's name."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from fedgenome import files
from fedgenome.errors import SpecError


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


def replace(path: Path, data: bytes, what: str) -> None:
    """Put ``data`` in the place of ``path``, whole or not at all.

    Raises:
        SpecError: it cannot be written.
    """
    with named(path, f"a place for {what}"):
        files.replace(path, data)


def create(path: Path, data: bytes, mode: int, what: str) -> None:
    """Put ``data`` in a new file of exactly ``mode``.

    Raises:
        SpecError: something is there already, or it cannot be written.
    """
    with named(path, f"a place for {what}"):
        files.create(path, data, mode)
