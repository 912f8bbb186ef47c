"""Child processes, and this one's memory, as ``/proc`` shows them (Linux)."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path


def children() -> set[int]:
    """Return the ids of the processes that this one's main thread started."""
    main_thread = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")  # it starts all of them
    return set(map(int, main_thread.read_text(encoding="ascii").split()))


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, user and system, in steps of a clock tick (10 ms)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()  # from field 3 on
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int, field: str) -> int:
    """Return a size of a process, by its name in ``/proc/PID/status`` (``VmRSS``, ``VmHWM``), in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def growth(work: Callable[[], object]) -> int:
    """Return by how many bytes ``work`` grows this process, at its largest."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins again
    before = memory(os.getpid(), "VmRSS")
    work()
    return memory(os.getpid(), "VmHWM") - before
