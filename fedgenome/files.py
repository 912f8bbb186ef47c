"""Files that are whole or not there: written beside their place, brought to the disk, then renamed."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # of an OSError: the disk takes no more


def replace(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of ``path``: a crash leaves the old file or, once this returned, the new one."""
    beside = path.with_name(f".{path.name}.new")
    write(beside, data)
    beside.replace(path)
    sync(path.parent)


def create(path: Path, data: bytes, mode: int) -> None:
    """Put ``data`` in a new file of exactly ``mode``: whole or not there, and never in the place of another.

    Raises:
        FileExistsError: something is there already, be it a link that leads nowhere.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # for its owner alone
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)  # unlike a renaming, it replaces nothing
    finally:
        beside.unlink()
    sync(path.parent)


def write(path: Path, data: bytes) -> None:
    """Write a file that nobody reads yet; it is on the disk when this returns."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync(folder: Path) -> None:
    """Bring a folder's entries to the disk: without it a new file may vanish with the power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
