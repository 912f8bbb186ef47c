"""TOML: files that people write, every failure one line with the file's name; and text for them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
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


def text(told: Mapping[str, Any]) -> str:
    r"""Return ``told`` as TOML: strings, numbers, truths, lists of them, and tables one deep; None is left out.

    >>> text({"a": "b", "n": None, "t": {"c": [1, 2.5], "d": True}})
    'a = "b"\n\n[t]\nc = [1, 2.5]\nd = true\n'
    """
    plain = [f"{key} = {json.dumps(value)}\n" for key, value in told.items() if not _is_table(value)]
    tables = [f"\n[{key}]\n{text(value)}" for key, value in told.items() if isinstance(value, Mapping)]
    return "".join(plain + tables)


def _is_table(value: object) -> bool:
    return value is None or isinstance(value, Mapping)
