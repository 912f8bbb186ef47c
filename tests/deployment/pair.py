"""A SuperLink and one hospital's relay in containers, the least in which certificates, clocks and keys can misfit.

The hospital's agent is a socket of the test's own; what the consortium hands out lies in a folder of this machine.
"""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fedgenome.deployment.compose import network
from fedgenome.deployment.consortium import app as bundles
from fedgenome.deployment.consortium import certificates, nodes, release_keys, requests
from fedgenome.federation.wire import Call
from fedgenome.secure.identity import Identity
from tests.deployment.project import Project
from tests.deployment_roles import bundles as apps

HOSTS = ("superlink", "localhost", "127.0.0.1")
ONLINE = r"SuperNode ID: \d+"
COMPILER = shutil.which("cc")  # of the clock that is off
_SKEWED = {"LD_PRELOAD": "/skew/skew.so"}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a test may change of the two.

    Attributes:
        project: Services ``superlink``, ``relay-1``, and ``relay-2`` with the same key, which is not started.
        folder: ``public``, ``link``, ``skew``, ``state`` (the role's own keys) and ``tls``.
    """

    project: Project
    folder: Path

    def fit(self) -> None:
        """Put every file of the relay back as it should be."""
        for name in ("node.key", "socket.key"):
            readable(self.folder / "link" / name, (self.folder / "state" / name).read_bytes())
        readable(self.folder / "public" / "ca.crt", (self.folder / "tls" / "ca.crt").read_bytes())
        self.skew(0)

    def skew(self, seconds: float) -> None:
        """Set the relay's clock off, from its next start on."""
        readable(self.folder / "skew" / "seconds", f"{seconds:.0f}\n".encode())

    def renew(self, *options: str) -> None:
        """Renew the SuperLink's certificate by the command, and start the SuperLink again."""
        command = [sys.executable, "-m", "fedgenome.cli", "keys", "certificates", str(self.folder / "tls"), "--renew"]
        subprocess.run([*command, *options], check=True, capture_output=True)
        self.project.restart("superlink")

    def restarted(self, service: str = "relay-1") -> float:
        """Start a service again; return when (Unix time)."""
        began = time.time()
        self.project.restart(service)
        return began


def prepare(folder: Path) -> None:
    """Make what the consortium and the hospital made before anything starts."""
    for name in ("public", "link", "skew"):
        (folder / name).mkdir()
        (folder / name).chmod(0o755)
    request = requests.request(folder / "state", "site", "site-1", 40)
    readable(folder / "public" / "nodes.json", nodes.dump(requests.relays([request])))
    release = Identity.generate()
    release_keys.save_trusted([release.key.public_key()], folder / "public" / "trusted.yaml")
    bundle = bundles.Bundle.read(bundles.build(apps.write(folder / "app", "answered"), folder))
    (fab,) = folder.glob("*.fab")
    shutil.copy(fab, folder / "public" / "app.fab")
    bundle.signed(release.key).signatures.save(folder / "public" / "bundle.json")
    (folder / "public" / "study.json").write_text("{}\n")  # for its presence alone: a relay waits for it, unread
    for path in (folder / "public").iterdir():
        path.chmod(0o644)
    shim = [COMPILER or "cc", "-shared", "-fPIC", "-O1", "-o", str(folder / "skew" / "skew.so")]
    subprocess.run([*shim, str(Path(__file__).with_name("skew.c")), "-ldl"], check=True)


def change(folder: Path, document: dict) -> None:
    """Leave of a compose document the SuperLink and the relay, with a second one of the same key."""
    services = document["services"]
    superlink, relay = services["superlink"], services["relay-1"]
    superlink["networks"] = [network("site-1")]
    superlink["volumes"] = ["state-superlink:/state", "jobs:/jobs", f"{folder / 'public'}:/public:ro"]
    relay["volumes"] = [f"{folder / one}:/{one}:ro" for one in ("link", "public", "skew")]
    relay["environment"] = relay["environment"] | _SKEWED
    document["services"] = {"superlink": superlink, "relay-1": relay, "relay-2": relay | {"profiles": ["run"]}}
    document["networks"] = {network("site-1"): {"internal": True}}
    document["volumes"] = {"state-superlink": {}, "jobs": {}}


def greeting(_kind: str, _call: Call) -> Call:
    """Answer as the hospital's agent would."""
    return Call(header={"site": "site-1"})


def readable(path: Path, blob: bytes) -> None:
    """Write a file that a container's user may read, in place: its folder is mounted, not the file."""
    path.write_bytes(blob)
    path.chmod(0o644)


def dated(folder: Path, monkeypatch, days: float) -> None:
    """Certify the SuperLink for 90 days from so many days after now."""
    now = certificates._now()
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "_now", lambda: now + datetime.timedelta(days=days))
        certificates.renew(folder)


def registered(project: Project) -> bool:
    """Whether the SuperLink has noted the relay's key."""
    found = project.run_in("superlink", "cat", "/state/registered.json")
    return found.returncode == 0 and "site-1" in json.loads(found.stdout)
