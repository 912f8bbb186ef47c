"""Logs of a role that holds data: JSON lines without any of it.

Messages may quote what they failed at, and so may the text of an error. So of a record of the library only the
template leaves (``"site %s refuses a %s: %s"``), of one of another package only where it was written, of an error
its type and the line that raised it.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from pathlib import PurePath
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import FilteringBoundLogger

_RENDER = structlog.processors.JSONRenderer(sort_keys=True)
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")


def install(stream: TextIO) -> FilteringBoundLogger:
    """Send every log record, warning and unforeseen error of this process to ``stream``; return the role's own log."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Bare())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[structlog.processors.add_log_level, _STAMP, _RENDER],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )

    def fell(fault: BaseException | None, place: str) -> None:
        log.critical("unforeseen error", where=place, **of(fault))

    def unforeseen(_kind: type[BaseException], fault: BaseException, _trace: TracebackType | None) -> None:
        fell(fault, "main")

    sys.excepthook = unforeseen
    threading.excepthook = lambda told: fell(told.exc_value, "thread")
    return log


def of(fault: BaseException | None) -> dict[str, str]:
    """Return what may be told of an error: its type, and file and line where it was raised."""
    if fault is None:
        return {}
    frames = traceback.extract_tb(fault.__traceback__)
    at = {"at": f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}"} if frames else {}
    return {"fault": type(fault).__name__, **at}


class _Bare(logging.Formatter):
    """One JSON line of a record, without its arguments."""

    def format(self, record: logging.LogRecord) -> str:
        told = record.args if isinstance(record.args, tuple) else ()
        fault = record.exc_info[1] if record.exc_info else next((a for a in told if isinstance(a, BaseException)), None)
        ours = record.name.partition(".")[0] == __name__.partition(".")[0]
        known: dict[str, Any] = {"event": str(record.msg) if ours else "withheld", "level": record.levelname.lower()}
        known |= {"logger": record.name, "at": f"{record.filename}:{record.lineno}"}
        line = _RENDER(None, "", _STAMP(None, "", {**known, **of(fault)}))
        return line if isinstance(line, str) else line.decode()
