"""TOML files that people write: read whole, every failure one line with the file's name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from fedgenome.errors import SpecError


def read(path: Path, what: str) -> dict[str, Any]:
    """Return what a TOML file holds.

    Args:
        path: The file.
        what: What it should be, for the error.

    Raises:
        SpecError: there is none, it cannot be read, or it is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise SpecError(f"{path}: expected {what}, {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise SpecError(f"{path}: expected TOML, {fault}") from None
