"""Seeing where a run in containers stands, by what its roles write, and striking at that moment."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

from fedgenome import __version__
from tests.deployment.project import Project, docker

# Runs beside the federation, with its volumes read-only: ends with 0 once `condition` holds of the job's folder.
_WAIT = """
import glob, json, pathlib, sys, time
known, condition, seconds = set(json.loads(sys.argv[1])), sys.argv[2], float(sys.argv[3])
def read(path):
    try:
        return json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError):
        return {}
def lines(path):
    try:
        return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines() if line.endswith("}")]
    except (OSError, ValueError):
        return []
ends = time.time() + seconds
while time.time() < ends:
    for job in set(glob.glob("/jobs/*")) - known:
        run = job.rpartition("/")[2]
        asked, progress = read(f"{job}/state/asked.json"), read(f"{job}/progress.json")
        done, result = sum(progress.get("done", {}).values()), read(f"{job}/result.json")
        try:
            warnings = pathlib.Path(f"{job}/warnings.log").read_text()
        except OSError:
            warnings = ""
        answered = lambda n: sum(
            one.get("run") == run and one["event"] == "ask" and one["outcome"] == "answered"
            for one in lines(f"/state-site-{n}/journal.jsonl"))
        if eval(condition):
            print(run)
            sys.exit(0)
    time.sleep(0.05)
sys.exit(1)
"""

_READY = """
import glob, socket, sys, time
ends = time.time() + float(sys.argv[1])
waiting = sys.argv[2:]
while waiting and time.time() < ends:
    for path in list(waiting):
        with socket.socket(socket.AF_UNIX) as role:
            if role.connect_ex(path) == 0:
                waiting.remove(path)
    time.sleep(0.5)
print(*waiting)
sys.exit(bool(waiting))
"""
_ONLINE = """
import sqlite3, sys, time
heard = max(time.time(), float(sys.argv[1]))
with sqlite3.connect("file:/state/superlink.db?mode=ro", uri=True) as told:
    print(*told.execute("select count(*) from node where online_until > ?", (heard,)).fetchone())
"""
_CALLED = ("consortium", "coordinator")  # whose containers end when they have done their work
_LAST_SECONDS = 5.0  # within which what was written before the command ended is seen
_ALIVE_SECONDS = 60.0  # for which a SuperLink believes a sign of life

SUBMITTED = "progress"  # the ServerApp is up: it looks for roles and has them join
ASKED = "asked and not done"  # the first question has left, its sum was not opened
ONE_DONE = "done == 1"  # the first sum was opened; the second question leaves
FINISHED = "result"  # every sum was opened; the coordinator's command generates, audits and releases


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a coordinator's command ended.

    Attributes:
        code: Its exit code.
        text: What it printed, on both streams.
        at: When, by the monotonic clock.
    """

    code: int
    text: str
    at: float

    @property
    def line(self) -> str:
        """Its error's line."""
        return next((line for line in self.text.splitlines() if line.startswith("error: ")), "")


class Watch:
    """Sees all volumes of a project, from a container of its own; a context manager.

    Args:
        project: The federation, up.
    """

    def __init__(self, project: Project, volumes: Sequence[str]) -> None:
        self._project, self._volumes = project, volumes
        self._name, self._runner = f"{project.name}-watch", f"{project.name}-conducting"
        self._known: list[str] = []
        self._conducted: Conducted

    def __enter__(self) -> Watch:
        mounts = [part for name in self._volumes for part in ("-v", f"{self._project.name}_{name}:/{name}:ro")]
        walls = ("--network", "none", "--read-only", "--user", "10001:10001", "--entrypoint", "sleep")
        docker("run", "-d", "--rm", "--name", self._name, *walls, *mounts, f"fedgenome-relay:{__version__}", "1d")
        return self

    def __exit__(self, *_: object) -> None:
        docker("kill", self._name, check=False)

    @contextlib.contextmanager
    def conducting(self, *options: str, seconds: float = 1500) -> Iterator[Conducted]:
        """Run the experiment through the coordinator's command; leaving the context ends it, if nothing else has."""
        if "--resume" not in options:
            self._known = self.jobs()
        command = ("run", "--rm", "--no-deps", "-T", "--name", self._runner, "coordinator", *options)
        conducted = self._conducted = Conducted(self._project.begin(*command), seconds)
        try:
            yield conducted
        finally:
            if conducted.process.poll() is None:
                self.kill_command()
            conducted.ended()

    def kill_command(self) -> None:
        """Kill the coordinator's command as it runs, or as soon as its container does."""
        while (
            self._conducted.process.poll() is None and docker("kill", self._runner, check=False).split()[0] == "Error"
        ):
            time.sleep(0.2)

    def until(self, condition: str, seconds: float = 1500) -> str:
        """Wait until ``condition`` holds of the run that began last; return its id.

        Args:
            condition: Python, over ``asked`` (the last question, a record), ``progress``, ``done`` (sums opened),
                ``result``, ``warnings``, and ``answered(n)`` (questions that hospital n answered).
            seconds: How long at most.
        """
        given = (json.dumps([f"/jobs/{run}" for run in self._known]), condition, str(seconds))
        command = ["docker", "exec", self._name, "python3", "-c", _WAIT, *given]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **streams) as waiting:
            while waiting.poll() is None and self._conducted.process.poll() is None:
                time.sleep(0.05)
            try:
                told, said = waiting.communicate(timeout=_LAST_SECONDS)
            except subprocess.TimeoutExpired:
                waiting.kill()
                raise AssertionError(f"the command ended before {condition}: {self._conducted.ended().text}") from None
        if waiting.returncode:
            raise AssertionError(f"not within {seconds:g} s: {condition} {said}")
        return told.strip()

    def warned(self, text: str) -> float:
        """Wait until the run that began last warns of ``text``; return the time of the monotonic clock."""
        self.until(f"{text!r} in warnings")
        return time.monotonic()

    def ready(self, seconds: float = 900) -> None:
        """Start every role that is not running, and wait until all listen and all relays are at the SuperLink."""
        for service, state in self._project.states().items():
            if service not in _CALLED and not state["Running"]:
                self._project.start(service)
            if state["Paused"]:  # by a case that failed
                self._project.resume(service)
        links = [name for name in self._volumes if name.startswith("link-")]
        given = ("python3", "-c", _READY, str(seconds), *(f"/{name}/agents.sock" for name in links))
        docker("exec", self._name, *given)
        ends = time.monotonic() + seconds
        while self._online() != len(links):
            if time.monotonic() > ends:
                raise AssertionError("not all relays are connected to the SuperLink")
            time.sleep(1)

    def _online(self) -> int:
        """Return how many relays have given the SuperLink a sign of life since the last of them all was started."""
        connected = [one for name, one in self._project.states().items() if name.startswith(("relay-", "superlink"))]
        since = str(max(datetime.fromisoformat(one["StartedAt"]).timestamp() for one in connected) + _ALIVE_SECONDS)
        told = self._project.run_in("superlink", "python3", "-c", _ONLINE, since).stdout.strip()
        return int(told or 0)

    def jobs(self) -> list[str]:
        """Return the ids of all runs so far."""
        return docker("exec", self._name, "ls", "/jobs").split()

    def unfinished(self) -> list[str]:
        """Return the ids of the runs that began with the last command and have no result."""
        missing = [f"[ -e /jobs/{run}/result.json ] || echo {run};" for run in self.fresh()]
        return docker("exec", self._name, "sh", "-c", " ".join(missing) or "true").split()

    def fresh(self) -> list[str]:
        """Return the ids of the runs that began with the last command."""
        return [run for run in self.jobs() if run not in self._known]

    def copy(self, folder: Path) -> Path:
        """Copy what is watched, sockets aside, into ``folder``, each volume under its name."""
        kept = [name for name in self._volumes if not name.startswith("link-")]
        command = ["docker", "exec", self._name, "tar", "-C", "/", "-c", *kept]
        packed = subprocess.run(command, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        return folder


@dataclass(frozen=True)
class Conducted:
    """The coordinator's command, at work.

    Attributes:
        process: Of compose, that shows what the command prints.
        seconds: That it may take.
    """

    process: subprocess.Popen[str]
    seconds: float

    def ended(self) -> Ended:
        """Wait for its end."""
        try:
            text, _ = self.process.communicate(timeout=self.seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            text, _ = self.process.communicate()
            raise AssertionError(f"the command hangs: {text[-2000:]}") from None
        return Ended(code=self.process.returncode, text=text, at=time.monotonic())
