"""What a check found: ok, failed with what to do about it, or not tested; nothing passes that was not tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fedgenome.errors import require


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of ``fedgenome site doctor``.

    Attributes:
        check: What was looked at.
        state: ok, failed, or not tested.
        found: What was seen, or why nothing was.
        remedy: What would help; only where it failed, and there always.
    """

    check: str
    state: Literal["ok", "failed", "not tested"]
    found: str
    remedy: str = ""

    def __post_init__(self) -> None:
        require((self.state == "failed") == bool(self.remedy), "a remedy where a check failed", check=self.check)


def ok(check: str, found: str) -> Finding:
    """Return what passed."""
    return Finding(check=check, state="ok", found=found)


def failed(check: str, found: str, remedy: str) -> Finding:
    """Return what failed, and what to do."""
    return Finding(check=check, state="failed", found=found, remedy=remedy)


def untested(check: str, why: str) -> Finding:
    """Return what was not looked at."""
    return Finding(check=check, state="not tested", found=why)


def text(findings: Sequence[Finding]) -> str:
    """Return a line for each, and one that counts them."""
    lines = [_line(one) for one in findings]
    counts = [(state, sum(one.state == state for one in findings)) for state in ("ok", "failed", "not tested")]
    return "\n".join([*lines, ", ".join(f"{count} {state}" for state, count in counts)])


def _line(one: Finding) -> str:
    remedy = f"; {one.remedy}" if one.remedy else ""
    return f"{one.state:10} {one.check}: {one.found}{remedy}"
