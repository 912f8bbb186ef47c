"""The coordinator's memory: each method's state after every query, and what was asked last.

State files are safetensors, replaced atomically; ``asked.json`` is written before a query leaves, so
that a query interrupted at any point is known, and repeated only as a new attempt (DESIGN §5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from fedgenome import files
from fedgenome.errors import SpecError
from fedgenome.query import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a method stands: its state and the index of its next query."""

    state: State
    step: int


class Checkpoint:
    """The state folder of one run.

    Args:
        folder: Made if absent. Files of another run in it are refused.
        identity: What the files must belong to (run id, study and plan digests).
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._asked: dict[str, int] = {}
        seen = self._read()
        if seen is not None and seen["identity"] != dict(identity):
            raise SpecError(f"{folder}: expected the state of this study and plan, found another's; start a new run")
        self._identity = dict(identity)
        self._last = (str(seen["method"]), int(seen["step"]), int(seen["attempt"])) if seen else None
        if seen is not None:
            self._asked = {str(form): int(n) for form, n in seen["asked"].items()}

    def _read(self) -> dict[str, Any] | None:
        path = self._folder / "asked.json"
        record: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return record

    def load(self, method: str) -> Progress | None:
        """Return where ``method`` stands, or None before its first query was learnt from."""
        return stand(self._folder, method)

    def save(self, method: str, progress: Progress) -> None:
        """Replace the state of ``method``."""
        state = {name: np.asarray(array, order="C") for name, array in progress.state.items()}
        blob = safetensors.numpy.save(state, {"step": str(progress.step)})
        files.replace(self._folder / f"{method}.safetensors", blob)

    def asked(self, form: str) -> int:
        """Return how many queries of this ``form`` were asked, failed attempts included; each counts its steps."""
        return self._asked.get(form, 0)

    def asking(self, method: str, step: int, form: str, steps: int = 1) -> int:
        """Record that a query of several ``steps`` is about to leave; it is on the disk when this returns.

        Returns:
            The attempt's number, one more than that of an unfinished attempt at the same step.
        """
        attempt = self._last[2] + 1 if self._last is not None and self._last[:2] == (method, step) else 0
        self._asked[form] = self.asked(form) + steps
        self._last = (method, step, attempt)
        record = {"identity": self._identity, "method": method, "step": step, "attempt": attempt, "asked": self._asked}
        files.replace(self._folder / "asked.json", json.dumps(record).encode())
        return attempt


def stand(folder: Path, method: str) -> Progress | None:
    """Return where ``method`` of the run in ``folder`` stands, or None before its first query was learnt from."""
    path = folder / f"{method}.safetensors"
    if not path.exists():
        return None
    with safetensors.safe_open(path, "numpy") as file:
        step = int(file.metadata()["step"])
        return Progress(state={name: file.get_tensor(name) for name in file.keys()}, step=step)  # noqa: SIM118
