"""What the processes of parties and dealer share: a first line of configuration, and no life after the driver's."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

from fedgenome.errors import RoleError, WireError


def configured(role: str) -> dict[str, Any]:
    """Return the first line of stdin, JSON; from here on an exception in any thread ends the process.

    Ends the process if whoever started it ended before it said anything.

    Args:
        role: Who this is, in what is written on standard error.
    """
    sys.excepthook = lambda kind, fault, trace: _die(role, kind, fault, trace)
    threading.excepthook = lambda args: _die(role, args.exc_type, args.exc_value, args.exc_traceback)
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)
    return dict(json.loads(line))


def end_with_driver(leave: Callable[[], object], told: Callable[[Any], object] = lambda _: None) -> None:
    """Pass stdin's further lines, JSON, to ``told``; at its end call ``leave`` and end the process.

    The driver holds the other end, so that its death, of whatever kind, closes it.
    """

    def watch() -> None:
        while line := sys.stdin.buffer.readline():
            told(json.loads(line))
        leave()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _die(role: str, kind: type[BaseException], fault: BaseException | None, trace: TracebackType | None) -> None:
    """End after an exception: with the public text of ours, of any other only where it was (its text may hold data)."""
    if isinstance(fault, (RoleError, WireError)):
        sys.stderr.write(f"{role}: {fault}\n")
    else:
        traceback.print_tb(trace, file=sys.stderr)
        sys.stderr.write(f"{kind.__name__} in {role} (text withheld)\n")
    sys.stderr.flush()
    os._exit(1)
