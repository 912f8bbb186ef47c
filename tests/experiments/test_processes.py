"""What benchmarks read of child processes is what the children do."""

import subprocess
import sys
from contextlib import contextmanager

from experiments.benchmarks import _processes as processes

BUSY = "import time\nwhile time.process_time() < 0.5: pass\nprint(1, flush=True)\ninput()"
IDLE = "print(1, flush=True)\ninput()"


@contextmanager
def child(code):
    """Start a child and yield it once it has done its work."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-S", "-c", code], **pipes) as process:
        process.stdout.readline()
        yield process
        process.stdin.close()


def test_a_child_is_listed_while_it_runs():
    before = processes.children()
    with child(IDLE) as process:
        assert processes.children() - before == {process.pid}
    assert processes.children() == before


def test_time_of_a_busy_child_is_counted_and_waiting_is_not():
    with child(BUSY) as busy, child(IDLE) as idle:
        assert 0.45 < processes.cpu_seconds(busy.pid) < 1
        assert processes.cpu_seconds(idle.pid) < 0.4


def test_memory_is_in_bytes():
    with child("held = bytearray(b'x' * (64 << 20))\n" + IDLE) as process:
        assert 64 << 20 < processes.memory(process.pid, "VmRSS") < 128 << 20
