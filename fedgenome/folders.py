"""The folder of a run: where its release, its internal results and its checkpoints lie.

``release/`` may leave; ``internal/`` never does. ``internal/run.json`` is written first and holds what a
resumed run must reuse; ``internal/outcome.json`` is written last, so that a folder without it is an
unfinished run.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedgenome import files
from fedgenome.errors import SpecError
from fedgenome.query import digest_of
from fedgenome.streams import Root


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """One run's folder.

    Attributes:
        path: The folder.
        run: The run's id, kept over resumes.
        deal: Hex key of the stream that deals the cohort out and samples the release; internal.
    """

    path: Path
    run: str
    deal: str

    @property
    def internal(self) -> Path:
        """What never leaves."""
        return self.path / "internal"

    @property
    def candidate(self) -> Path:
        """A release that waits for, or did not pass, the gate."""
        return self.internal / "candidate"

    @property
    def release(self) -> Path:
        """What may leave."""
        return self.path / "release"

    def write(self, name: str, text: str) -> Path:
        """Write a file of ``internal/``, whole or not at all."""
        path = self.internal / name
        files.replace(path, text.encode())
        return path

    def finish(self, outcome: dict[str, Any]) -> None:
        """Mark the run as finished."""
        self.write("outcome.json", json.dumps(outcome, indent=1) + "\n")


def reserve(seed: int | None) -> tuple[str, str]:
    """Return a new run's id and the key of its operator's stream; nothing is written yet."""
    return secrets.token_hex(16), Root.of(seed, "driver").derive("deal").hex()


def made(folder: Path, field: str) -> Path:
    """Return ``folder``, made if it is absent.

    Raises:
        SpecError: it cannot be made or written to; names the experiment's ``field``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as fault:
        raise SpecError(f"{field}: expected a folder to write to, got {folder} ({fault.strerror})") from None
    return folder


def create(out: Path, name: str, experiment: dict[str, Any], run: str, deal: str) -> RunFolder:
    """Make the next free folder ``name``, ``name-2``, … under ``out``. Earlier runs are left alone."""
    made(out, "out")
    for path in _names(out, name):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        break
    (path / "internal").mkdir()
    folder = RunFolder(path=path, run=run, deal=deal)
    record = {"run": run, "deal": deal, "experiment": _digest(experiment)}
    folder.write("run.json", json.dumps(record, indent=1) + "\n")
    return folder


def unfinished(out: Path, name: str, experiment: dict[str, Any]) -> RunFolder:
    """Return the newest unfinished run of ``name``.

    Raises:
        SpecError: there is none, or it was started from another experiment file.
    """
    found = []
    for path in _names(out, name):
        if not path.exists():
            break
        if (path / "internal" / "run.json").exists() and not (path / "internal" / "outcome.json").exists():
            found.append(path)
    if not found:
        raise SpecError(f"--resume: expected an unfinished run {name} in {out}, found none")
    record = json.loads((found[-1] / "internal" / "run.json").read_text())
    if record["experiment"] != _digest(experiment):
        raise SpecError(f"--resume: {found[-1]} was started from another version of the experiment file; start anew")
    return RunFolder(path=found[-1], run=record["run"], deal=record["deal"])


def withheld(out: Path, name: str) -> int:
    """Return how many runs of ``name`` in ``out`` ended without a release: attempts before the next one."""
    count = 0
    for path in _names(out, name):
        if not path.exists():
            return count
        outcome = path / "internal" / "outcome.json"
        count += outcome.exists() and json.loads(outcome.read_text())["verdict"] == "withheld"
    return count


def _names(out: Path, name: str) -> Iterator[Path]:
    yield out / name
    number = 2
    while True:
        yield out / f"{name}-{number}"
        number += 1


def _digest(experiment: dict[str, Any]) -> str:
    return digest_of("experiment", experiment)
