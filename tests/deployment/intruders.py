"""Whoever is not invited: containers on a federation's networks, and what runs inside those that are."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from experiments.harness import Target
from fedgenome import __version__
from fedgenome.deployment import compose
from tests.deployment import mutations
from tests.deployment.project import Project, docker

COMPUTING = ("party-0", "party-1", "party-2", "dealer")
SITES = ("site-1", "site-2")
_NUMBER = itertools.count()

# Prints, as JSON, what listens in a container: TCP and UDP by address, Unix sockets by path. The engine's resolver is
# the engine's.
LISTENING = """
import json, pathlib, re, socket, struct
found = []
for kind, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
    path = pathlib.Path("/proc/net", kind)
    for line in path.read_text().splitlines()[1:] if path.exists() else ():
        local, status = (line.split()[i] for i in (1, 3))
        address, port = local.split(":")
        words = [struct.pack("=I", int(address[i:i + 8], 16)) for i in range(0, len(address), 8)]
        shown = socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, b"".join(words))
        if status == state and shown != "127.0.0.11":
            found.append(f"{kind} {shown}:{int(port, 16)}")
for line in pathlib.Path("/proc/net/unix").read_text().splitlines()[1:]:
    fields = line.split()
    if int(fields[3], 16) & 0x10000:
        found.append("unix " + (fields[7] if len(fields) > 7 else "?"))
print(json.dumps(sorted(found)))"""

# Prints, as JSON, processes of a container with their resident KiB and open files.
HELD = """
import json, pathlib
held = {}
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        words = (folder / "cmdline").read_bytes().split(b"\\0")
        said = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        held[folder.name] = [
            b" ".join(words[:4]).decode(), int(said.get("VmRSS", "0").split()[0]), len(list((folder / "fd").iterdir())),
            int(said["Threads"])]
    except OSError:
        pass
print(json.dumps(held))"""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a role's processes hold: KiB of memory, open files, threads; by process number."""

    kib: dict[str, int]
    files: dict[str, int]
    threads: dict[str, int]

    @property
    def text(self) -> str:
        return f"{sum(self.kib.values()) >> 10} MiB, {sum(self.files.values())} files"


def listening(project: Project, service: str) -> list[str]:
    """Return what listens in a service's container."""
    return json.loads(_printed(project, service, LISTENING))


def held(project: Project, service: str, words: str) -> Held:
    """Return what the processes of a service hold whose command line has ``words`` in it."""
    told = json.loads(_printed(project, service, HELD))
    ours = {pid: rest for pid, (line, *rest) in told.items() if re.search(words, line)}
    return Held(
        kib={pid: rest[0] for pid, rest in ours.items()},
        files={pid: rest[1] for pid, rest in ours.items()},
        threads={pid: rest[2] for pid, rest in ours.items()},
    )


def _printed(project: Project, service: str, code: str) -> str:
    done = project.python(service, code)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Container:
    """A running container that is none of the federation's, or one that is."""

    id: str

    def start(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Begin to run Python code, with ``mutations`` importable; it reads its standard input."""
        prelude = (
            "import sys, types; m = types.ModuleType('mutations'); sys.modules['mutations'] = m; "
            f"exec({Path(mutations.__file__).read_text()!r}, m.__dict__)\n"
        )
        command = ["docker", "exec", "-i", self.id, "python3", "-W", "ignore", "-c", prelude + code, *arguments]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, code: str, *arguments: str, told: object = None, seconds: float = 300) -> object:
        """Run Python code that reads JSON (``told``) and prints JSON last; return that."""
        process = self.start(code, *arguments)
        out, err = process.communicate(json.dumps(told), timeout=seconds)
        assert process.returncode == 0, err[-3000:]
        return json.loads(out.splitlines()[-1])


def inside(project: Project, service: str) -> Container:
    """Return a service's own container: whoever runs code there is its user, and no more."""
    return Container(id=project.container(service))


@contextmanager
def stranger(project: Project, *networks: str, image: str = "coordinator", **volumes: str) -> Iterator[Container]:
    """Run a container of our own, user and walls as the others', on some of a project's networks.

    Args:
        networks: Names in the compose file; none: no network.
        image: Whose packages it has.
        volumes: Of the project, by the folder they are mounted at, all read-only.
    """
    name = f"{project.name}_stranger-{os.getpid()}-{next(_NUMBER)}"
    mounts = [f"--volume={project.name}_{volume.replace('_', '-')}:/{folder}:ro" for folder, volume in volumes.items()]
    first = f"{project.name}_{networks[0]}" if networks else "none"
    docker(
        "run", "-d", "--rm", "--init", "--name", name, "--network", first, "--read-only", "--tmpfs", "/tmp",
        *mounts, *_library(project), "--entrypoint", "sleep", f"fedgenome-{image}:{__version__}", "infinity",
    )  # fmt: skip
    try:
        for network in networks[1:]:
            docker("network", "connect", f"{project.name}_{network}", name)
        yield Container(id=name)
    finally:
        docker("rm", "-f", name, check=False)


def _library(project: Project) -> list[str]:
    """Return the options by which the project's own containers get this checkout's library, if they do."""
    services = project.config()["services"]
    mounted = [one for one in services["superlink"]["volumes"] if "site-packages" in str(one)]
    return [
        f"--volume={one if isinstance(one, str) else one['source'] + ':' + one['target'] + ':ro'}" for one in mounted
    ]


def relay_of(role: str) -> str:
    """Return the service that relays for a role."""
    return f"relay-{role.removeprefix('site-')}" if role.startswith("site-") else f"relay-{role}"


def service_of(role: str) -> str:
    """Return the service that is a role."""
    return role.replace("site-", "agent-")


def encoded(blobs: list[bytes]) -> list[str]:
    """Return bytes as JSON can carry them."""
    return [base64.b64encode(blob).decode() for blob in blobs]


ROLES = compose.roles_of(2)


def noted(measured, who, where, messages, accepted, outcome="refused"):
    """Record what came of an intrusion, and that none of its messages may be accepted."""
    told = {"who": who, "where": where, "messages": messages, "outcome": "accepted" if accepted else outcome}
    target = Target(name=f"messages accepted: {who}, {where}", value=int(accepted), target=0, sense="at most")
    measured("intruders", target, **told)
