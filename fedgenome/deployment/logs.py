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

from fedgenome.errors import Refused

_RENDER = structlog.processors.JSONRenderer(sort_keys=True)
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True, key="time")


def install(stream: TextIO) -> FilteringBoundLogger:
    """Send every log record, warning and unforeseen error of this process to ``stream``; return the role's own log."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Line())
    logging.setLogRecordFactory(_bare)
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
    """Return what may be told of an error: its type, file and line where it was raised, and a refusal's rule."""
    if fault is None:
        return {}
    if isinstance(fault, Refused):
        return {"code": fault.code, "rule": fault.rule}
    frames = traceback.extract_tb(fault.__traceback__)
    at = {"at": f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}"} if frames else {}
    return {"fault": type(fault).__name__, **at}


def _bare(name: str, level: int, fn: str, lno: int, msg: object, args: Any, exc_info: Any, *_: Any, **__: Any) -> Any:
    """Make a log record without arguments: packages have handlers of their own, which would print them."""
    told = args if isinstance(args, tuple) else ()
    fault = exc_info[1] if exc_info else next((a for a in told if isinstance(a, BaseException)), None)
    ours = name.partition(".")[0] == __name__.partition(".")[0]
    record = logging.LogRecord(name, level, fn, lno, str(msg) if ours else "withheld", (), None)
    record.fault = of(fault)
    return record


class _Line(logging.Formatter):
    """One JSON line of a record."""

    def format(self, record: logging.LogRecord) -> str:
        known = {"event": record.msg, "level": record.levelname.lower(), "logger": record.name}
        known |= {"at": f"{record.filename}:{record.lineno}", **getattr(record, "fault", {})}
        line = _RENDER(None, "", _STAMP(None, "", known))
        return line if isinstance(line, str) else line.decode()
