"""The SuperLink's machine: SuperLink, SuperExec (it starts ServerApps), the hub of the signed bundle, known relays.

Three child processes, tied together: when one ends, so do the others, and whoever supervises starts all again. A
SuperLink left to itself starts its SuperExec and never looks whether it lives; then runs wait for ever.
Registering is idempotent: a relay whose key is known stays as it is.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedgenome import files
from fedgenome.deployment import health
from fedgenome.deployment.consortium import certificates
from fedgenome.deployment.coordinator.flower import Flower
from fedgenome.errors import SpecError

JOBS = "FEDGENOME_JOBS"  # what a ServerApp looks for in its environment

_LOG = logging.getLogger(__name__)
_HERE = "127.0.0.1"  # as ServerApps' starter and the coordinator's commands call the SuperLink
_GLANCE_SECONDS = 1.0
_GRACE_SECONDS = 10
_CHILDREN = ("hub", "flower-superlink", "flower-superexec")

# Flower's SuperLink gives a request up that waits five seconds for its database: the answer of a hospital is lost for
# good where forty relays come at once to a machine that is busy. Here it waits for a minute.
PATIENCE = """
import sys
from importlib.metadata import entry_points
from flwr.supercore import constant
constant.SQLITE_PRAGMAS = tuple((dict(constant.SQLITE_PRAGMAS) | {"busy_timeout": "60000"}).items())
"""
_START = """
sys.argv[0] = "flower-superlink"
entry_points(group="console_scripts", name="flower-superlink")["flower-superlink"].load()()
"""


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
    def commands(self) -> tuple[list[str], ...]:
        """The hub's command, the SuperLink's, and that of the SuperExec, which starts ServerApps."""
        hub = ["fedgenome", "app", "serve", str(self.bundle), str(self.signatures), "--port", str(self.hub)]
        tls = [("ca-certfile", "ca.crt"), ("certfile", "server.crt"), ("keyfile", "server.key")]
        link = [sys.executable, "-c", PATIENCE + _START, "--host", "0.0.0.0", "--port", str(self.port)]  # noqa: S104 - behind its networks
        link += [part for option, file in tls for part in (f"--ssl-{option}", str(self.certificates / file))]
        link += ["--enable-supernode-auth", "--disable-runtime-dependency-installation"]
        link += ["--isolation", "process", "--database", str(self.state / "superlink.db")]
        starter = [
            "flower-superexec",
            "--runtime-api-address",
            self._address,
            "--root-certificates",
            str(self._authority),
        ]
        return hub, link, starter

    @property
    def _address(self) -> str:
        return f"{_HERE}:{self.port}"

    @property
    def _authority(self) -> Path:
        return self.certificates / certificates.CA

    def check(self) -> None:
        """Refuse a certificate by which the SuperLink's neighbours on its own machine cannot know it.

        Raises:
            SpecError: it does not name this machine's own address, or is none.
        """
        certificates.check(self.certificates)
        path = self.certificates / certificates.CERTIFICATE
        if _HERE not in (names := certificates.hosts(certificates.read(path))):
            told = " ".join(f"--host {name}" for name in [*names, _HERE])
            raise SpecError(
                f"{path}: expected a certificate that names {_HERE}, as what starts ServerApps calls the SuperLink by "
                f"it, got {', '.join(names)}; fedgenome keys certificates FOLDER --renew {told}"
            )

    def register(self, nodes: Mapping[str, Mapping[str, object]]) -> None:
        """Register the relays of a node list; see :func:`register`."""
        with Flower(self._address, self._authority) as flower:
            register(nodes, flower, self.state / "registered.json")

    def ailment(self) -> str:
        """Return why SuperLink or hub give no answer; nothing if both do, under a certificate that holds."""
        return health.superlink(self.port, self.hub, self._authority)


def serve(config: SuperLink, nodes: Path) -> int:
    """Run hub, SuperLink and SuperExec until one of them ends or SIGTERM; register ``nodes`` once they answer.

    Returns:
        The exit code: 0 after SIGTERM, 1 if one of them ended.

    Raises:
        SpecError: the SuperLink's certificate does not hold now, or does not name this machine's own address.
    """
    config.check()
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    environment = os.environ | {"FLWR_SUPERGRID_API_URL": f"http://127.0.0.1:{config.hub}", JOBS: str(config.jobs)}
    environment |= {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    environment["PATH"] = (
        f"{Path(sys.executable).parent}:{environment.get('PATH', '')}"  # they start one another by name
    )
    children = [subprocess.Popen(command, cwd=config.jobs, env=environment) for command in config.commands]
    try:
        registered = False
        while not told and all(child.poll() is None for child in children):
            if not registered and nodes.exists() and not config.ailment():
                config.register(json.loads(nodes.read_text()))
                registered = True
            time.sleep(_GLANCE_SECONDS)
        for child, name in zip(children, _CHILDREN, strict=True):
            if not told and child.poll() is not None:
                _LOG.error("%s ended (%s); the others end with it", name, child.returncode)
    finally:
        _end(children)
    return 0 if told else 1


def register(nodes: Mapping[str, Mapping[str, object]], flower: Flower, known: Path) -> None:
    """Register every relay's node key under its role's name at the SuperLink.

    Args:
        nodes: The node list of ``fedgenome keys approve``: name → record with ``key``.
        flower: A connection to it.
        known: Which were registered before, name → key: Flower lists neither. Goes with the database.

    Raises:
        RoleError: the SuperLink refuses one that it does not know yet, with what it said.
    """
    before: dict[str, object] = json.loads(known.read_text()) if known.exists() else {}
    told = {name: node["key"] for name, node in nodes.items()}
    if fresh := {name: str(key) for name, key in told.items() if before.get(name) != key}:
        flower.register(fresh)
        files.replace(known, json.dumps(before | told).encode())
        _LOG.warning("registered %s", ", ".join(fresh))


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
