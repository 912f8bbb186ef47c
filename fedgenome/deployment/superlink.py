"""The SuperLink's machine: the SuperLink itself, the hub of the signed bundle beside it, and the relays it knows.

Two child processes, tied together: when one ends, so does the other, and whoever supervises starts both again.
Registering is idempotent: a relay whose key is known stays as it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedgenome import files
from fedgenome.deployment import health
from fedgenome.errors import RoleError

JOBS = "FEDGENOME_JOBS"  # what a ServerApp looks for in its environment

_LOG = logging.getLogger(__name__)
_FLWR = """
import json, sys
from flwr.cli.app import app
said = {}
for name in sys.argv[1:]:  # in one process: each start of it takes seconds
    try:
        app(["supernode", "register", f"{name}.pub", "here", "--name", name], standalone_mode=False)
    except Exception as fault:
        said[name] = str(fault)
print(json.dumps(said))
"""
_SECONDS = 300  # for one command of Flower's, or for the SuperLink to be up
_GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SuperLink:
    """Where a SuperLink listens and what it holds.

    Attributes:
        port: Its only port, on all addresses of its machine.
        hub: Port of the hub, on loopback.
        state: Folder of its database.
        certificates: Folder of ``ca.crt``, ``server.crt`` and ``server.key``.
        bundle: The app bundle.
        signatures: What ``fedgenome app sign`` wrote of it.
        jobs: Folder of the coordinator's jobs.
    """

    port: int
    hub: int
    state: Path
    certificates: Path
    bundle: Path
    signatures: Path
    jobs: Path

    @property
    def commands(self) -> tuple[list[str], list[str]]:
        """The hub's command and the SuperLink's."""
        hub = ["fedgenome", "app", "serve", str(self.bundle), str(self.signatures), "--port", str(self.hub)]
        tls = [("ca-certfile", "ca.crt"), ("certfile", "server.crt"), ("keyfile", "server.key")]
        link = ["flower-superlink", "--host", "0.0.0.0", "--port", str(self.port)]  # noqa: S104 - behind its networks
        link += [part for option, file in tls for part in (f"--ssl-{option}", str(self.certificates / file))]
        link += ["--enable-supernode-auth", "--disable-runtime-dependency-installation"]
        return hub, [*link, "--database", str(self.state / "superlink.db")]

    def register(self, nodes: Mapping[str, Mapping[str, object]]) -> None:
        """Register the relays of a node list; see :func:`register`."""
        known = self.state / "registered.json"
        register(nodes, f"localhost:{self.port}", self.certificates / "ca.crt", known)

    def healthy(self) -> bool:
        """Tell whether SuperLink and hub both answer."""
        return not health.superlink(self.port, self.hub, self.certificates / "ca.crt")


def serve(config: SuperLink, nodes: Path) -> int:
    """Run hub and SuperLink until one of them ends or SIGTERM; register the relays of ``nodes`` once it is there.

    Returns:
        The exit code: 0 after SIGTERM.
    """
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    environment = os.environ | {"FLWR_SUPERGRID_API_URL": f"http://127.0.0.1:{config.hub}", JOBS: str(config.jobs)}
    children = [subprocess.Popen(command, cwd=config.jobs, env=environment) for command in config.commands]
    try:
        registered = False
        while not told and all(child.poll() is None for child in children):
            if not registered and nodes.exists() and config.healthy():
                config.register(json.loads(nodes.read_text()))
                registered = True
            time.sleep(1)
    finally:
        _end(children)
    return 0 if told else 1


def register(nodes: Mapping[str, Mapping[str, object]], address: str, authority: Path, known: Path) -> None:
    """Register every relay's node key under its role's name at the SuperLink.

    Args:
        nodes: The node list of ``fedgenome keys approve``: name → record with ``key``.
        address: The SuperLink's host and port.
        authority: Its ``ca.crt``.
        known: Which were registered before, name → key: Flower lists neither. Goes with the database.

    Raises:
        RoleError: the SuperLink refuses one that it does not know yet, with what it said.
    """
    before: dict[str, object] = json.loads(known.read_text()) if known.exists() else {}
    told = {name: node["key"] for name, node in nodes.items()}
    if fresh := [name for name, key in told.items() if before.get(name) != key]:
        with tempfile.TemporaryDirectory(prefix="fedgenome-nodes-") as place:
            folder = Path(place)
            trusted = f"address = {json.dumps(address)}\nroot-certificates = {json.dumps(str(authority))}\n"
            (folder / "config.toml").write_text(f"[superlink.here]\n{trusted}")
            for name in fresh:
                (folder / f"{name}.pub").write_text(f"{told[name]}\n")
            _register(folder, fresh)
        files.replace(known, json.dumps(before | told).encode())


def _register(home: Path, names: Sequence[str]) -> None:
    """Register ``NAME.pub`` of ``home`` for all names, at the SuperLink that its ``config.toml`` names ``here``."""
    done = subprocess.run(
        [sys.executable, "-c", _FLWR, *names],
        cwd=home,
        env=os.environ | {"FLWR_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=_SECONDS + len(names),
        check=False,
    )
    if done.returncode:
        raise RoleError(f"flwr supernode register: {' '.join(done.stderr.split())}")
    for name, text in json.loads(done.stdout.splitlines()[-1]).items():
        if "already in use" not in text:  # registered by a process that died before it noted so
            raise RoleError(f"flwr supernode register --name {name}: {' '.join(text.split())}")
    _LOG.warning("registered %s", ", ".join(names))


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
