"""A real SuperLink and real SuperNodes on loopback, and an experiment small enough for them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from fedgenome.federation import agents

ROOT = Path(__file__).parents[2]
_UP_SECONDS = 60
_END_SECONDS = 10
_RUN = {
    "superlink": "from flwr.superlink.cli import flower_superlink; flower_superlink()",
    "supernode": "from flwr.supernode.cli import flower_supernode; flower_supernode()",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def process(kind: str, log: Path, *arguments: object, **environment: str):
    """Run one of Flower's servers; it ends with the block."""
    home = {"FLWR_HOME": str(log.parent / "flower"), "PYTHONPATH": str(ROOT)}
    home["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # Flower starts programs of its own by name
    with log.open("wb") as out:
        command = [sys.executable, "-P", "-c", _RUN[kind], "--insecure", *map(str, arguments)]
        streams = {"stdout": out, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        streams["start_new_session"] = True  # what it starts must end with it, even where it does not see to that
        running = subprocess.Popen(command, cwd=log.parent, env=os.environ | home | environment, **streams)
    try:
        yield running
    finally:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(_END_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


@contextlib.contextmanager
def superlink(folder: Path):
    """Serve a SuperLink whose jobs lie in ``folder/jobs``; yield its address."""
    port = free_port()
    where = ["--host", "127.0.0.1", "--port", port, "--database", folder / "superlink.db"]
    (folder / "jobs").mkdir()
    jobs = {"FEDGENOME_JOBS": str(folder / "jobs")}
    with process(
        "superlink", folder / "superlink.log", *where, "--disable-runtime-dependency-installation", **jobs
    ) as running:
        deadline = time.monotonic() + _UP_SECONDS
        while not _healthy(port):
            assert running.poll() is None and time.monotonic() < deadline, (folder / "superlink.log").read_text()
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"


def _healthy(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def node(folder: Path, address: str, name: str, handle):
    """Serve a role's ``handle`` on a socket of its own, and its relay: a SuperNode."""
    path, key = folder / f"{name}.sock", os.urandom(32)
    where = ["--superlink", address, "--host", "127.0.0.1", "--port", free_port(), "--node-config", "partition-id=0"]
    told = {agents.ADDRESS: str(path), agents.KEY: key.hex()}
    with agents.listening([handle], path, key), process("supernode", folder / f"{name}.log", *where, **told):
        yield


@contextlib.contextmanager
def command(*arguments: object, cwd: Path):
    """Run a ``fedgenome`` command; it is gone when the block ends."""
    line = [sys.executable, "-m", "fedgenome.cli", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
    pipes["preexec_fn"] = _heed_ctrl_c
    with subprocess.Popen(line, cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes) as running:
        try:
            yield running
        finally:
            running.kill()


def _heed_ctrl_c() -> None:
    """Undo what a test run in the background of a script inherits: that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
