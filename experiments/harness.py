"""What every experiment and benchmark shares: flags, targets, and a results file that says where it ran."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from fedgenome import files, threads
from fedgenome.card import library_versions

_NONE: Mapping[str, str] = MappingProxyType({})
_VERSIONS = ("fedgenome", "torch", "numpy", "flwr", "crypten", "dp-accounting", "cryptography", "scikit-learn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One promised figure.

    Attributes:
        name: What was measured, with its unit.
        value: The measurement.
        target: What was promised.
        sense: Whether the value may be at most, or must be at least, the target.
    """

    name: str
    value: float
    target: float
    sense: Literal["at most", "at least"]

    @property
    def ok(self) -> bool:
        """Whether the promise holds."""
        return self.value <= self.target if self.sense == "at most" else self.value >= self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Rows of a table and the targets they meet or miss.

    Attributes:
        rows: The table.
        targets: The promises.
        whole: False where only a part was measured: no results file is written then.
    """

    rows: Sequence[Mapping[str, Any]]
    targets: Sequence[Target]
    whole: bool = True


def main(file: str, title: str, measure: Callable[..., Result], flags: Mapping[str, str] = _NONE) -> None:
    """Run ``measure(quick, say)`` as a command; ``--quick`` ends in under 60 s and writes no file.

    A full run replaces ``results.json`` (or ``NAME.results.json`` of a benchmark) beside the script.

    Args:
        flags: More flags that take a word, by name, with their help; ``measure`` gets them by name, None if not given.
    """
    threads.limit()
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--quick", action="store_true", help="a small version, under 60 s; writes no results file")
    parser.add_argument(
        "--json", action="store_true", help="print nothing but the result; its last line are the targets"
    )
    for flag, words in flags.items():
        parser.add_argument(f"--{flag}", help=words)
    chosen = parser.parse_args()
    say = (lambda text: None) if chosen.json else (lambda text: print(text, file=sys.stderr, flush=True))
    result = measure(chosen.quick, say, **{flag: getattr(chosen, flag) for flag in flags})
    if result.whole and not chosen.quick:
        write(_results_path(Path(file)), title, _command(file), result)
    for row in result.rows:
        print(json.dumps(row) if chosen.json else "  ".join(f"{k} {_short(v)}" for k, v in row.items()))
    print(json.dumps({"targets": _judged(result)}))
    sys.exit(0 if all(target.ok for target in result.targets) else 1)


def write(path: Path, title: str, command: str, result: Result) -> None:
    """Replace the results file ``path``: what ``command`` measured, where and when."""
    record = {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "versions": library_versions(_VERSIONS),
        "title": title,
        "rows": [dict(row) for row in result.rows],
        "targets": _judged(result),
    }
    files.replace(path, (json.dumps(record, indent=1) + "\n").encode())


def _judged(result: Result) -> list[dict[str, Any]]:
    return [asdict(target) | {"ok": target.ok} for target in result.targets]


def _results_path(script: Path) -> Path:
    return script.with_name("results.json") if script.stem == "run" else script.with_suffix(".results.json")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _command(file: str) -> str:
    module = ".".join(Path(file).resolve().relative_to(Path.cwd()).with_suffix("").parts)
    return shlex.join(["python", "-m", module, *sys.argv[1:]])
