"""A real SuperLink and SuperNode on loopback, with our certificates, node keys and signed bundle.

TLS and node authentication as in a deployment. Three apps of the same name are submitted: one signed by the
release key, one signed by another in its name, one not signed at all.
"""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from fedgenome.deployment import app as bundles
from fedgenome.deployment import certificates, hub, nodes, release_keys, requests
from fedgenome.secure.identity import Identity
from tests.deployment_roles import bundles as apps

BIN = Path(sys.executable).parent
RELEASE, STRANGER = Identity.generate(), Identity.generate()
APP = "@fedgenome/fedgenome==0.1.0"
REFUSED = "The FAB could not be verified."


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Keys, certificates, trusted list and Flower's own configuration in a folder."""
    folder = tmp_path_factory.mktemp("superlink")
    certificates.make(folder, ["127.0.0.1"], 1)
    request = requests.request(folder / "state", "site", "site-1", 40)
    nodes.save_keys(requests.relays([request]), folder / "keys")
    release_keys.save_trusted([RELEASE.key.public_key()], folder / "trusted.yaml")
    return folder


@pytest.fixture(scope="module")
def ports(place):
    told = {name: free_port() for name in ("superlink", "supernode", "hub")}
    (place / "home").mkdir()
    address = f'address = "127.0.0.1:{told["superlink"]}"\nroot-certificates = "{place / "ca.crt"}"\n'
    (place / "home" / "config.toml").write_text(f'[superlink]\ndefault = "here"\n[superlink.here]\n{address}')
    return told


@pytest.fixture(scope="module")
def run(place, ports):
    """Run one of Flower's programs to its end, or start it."""
    env = os.environ | {"FLWR_HOME": str(place / "home"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    env |= {"FLWR_SUPERGRID_API_URL": f"http://127.0.0.1:{ports['hub']}", "NO_PROXY": "127.0.0.1"}

    def start(name, *arguments):
        log = (place / f"{name}.log").open("ab")
        with log:
            command = [str(BIN / name), *map(str, arguments)]
            return subprocess.Popen(command, cwd=place, env=env, stdout=log, stderr=log, start_new_session=True)

    return start


def end(process):
    """End a process and all that it started, and wait until they are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


@pytest.fixture(scope="module")
def superlink(run, place, ports):
    files = ("--ssl-ca-certfile", "ca.crt", "--ssl-certfile", "server.crt", "--ssl-keyfile", "server.key")
    where = ("--host", "127.0.0.1", "--port", ports["superlink"], "--database", "state.db")
    more = ("--enable-supernode-auth", "--disable-runtime-dependency-installation")
    process = run("flower-superlink", *files, *where, *more)
    trust = ssl.create_default_context(cafile=place / "ca.crt")
    try:
        while process.poll() is None:  # until it listens; pytest-timeout bounds it
            with contextlib.suppress(urllib.error.URLError):
                urllib.request.urlopen(f"https://127.0.0.1:{ports['superlink']}/health", context=trust).close()
                break
            time.sleep(0.1)
        yield process
    finally:
        end(process)


@pytest.fixture(scope="module")
def supernode(run, place, ports, superlink):
    registered = run("flwr", "supernode", "register", "keys/site-1.pub", "here", "--name", "site-1")
    assert registered.wait() == 0
    keys = ("--root-certificates", "ca.crt", "--auth-supernode-private-key", "state/node.key")
    trust = ("--trusted-entities", "trusted.yaml")
    where = ("--superlink", f"127.0.0.1:{ports['superlink']}", "--host", "127.0.0.1", "--port", ports["supernode"])
    process = run("flower-supernode", *keys, *trust, *where)
    yield process
    end(process)


@pytest.fixture(scope="module")
def told(run, place, ports, supernode):
    """What the ServerApp of each submitted app got for its question."""

    def submit(name, what):
        return run("flwr", "run", what, "here", "--run-config", f'out="{place / name}.json"')

    signed, forged = (bundles.Bundle.read(bundles.build(apps.write(place / n, n), place)) for n in ("signed", "forged"))
    waiting = [submit("plain", str(apps.write(place / "plain", "plain")))]
    with hub.listening(signed.signed(RELEASE.key), ports["hub"]):
        assert submit("signed", APP).wait() == 0
    (one,) = forged.signed(STRANGER.key).signatures.verifications
    one = one.model_copy(update={"public_key_id": release_keys.key_id(RELEASE.key.public_key())})
    claimed = forged.signatures.model_copy(update={"verifications": (one,)})
    with hub.listening(forged.join(claimed, place), ports["hub"]):
        assert submit("forged", APP).wait() == 0
    assert [process.wait() for process in waiting] == [0]
    answers = {name: place / f"{name}.json" for name in ("signed", "forged", "plain")}
    while not all(path.exists() for path in answers.values()):  # pytest-timeout bounds it
        assert supernode.poll() is None, (place / "flower-supernode.log").read_text()[-2000:]
        time.sleep(0.1)
    return {name: json.loads(path.read_text()) for name, path in answers.items()}


@pytest.mark.slow
def test_a_supernode_runs_the_signed_bundle_under_its_registered_name(told):
    assert told["signed"] == ["signed", ["site-1"]]


@pytest.mark.slow
def test_a_supernode_refuses_an_unsigned_bundle_and_another_keys_signature(told):
    assert (told["plain"][0], told["forged"][0]) == (REFUSED, REFUSED)


@pytest.mark.slow
def test_an_unregistered_node_and_plain_http_are_refused(run, place, ports, superlink):
    requests.request(place / "stranger", "site", "stranger", 40)
    keys = ("--root-certificates", "ca.crt", "--auth-supernode-private-key", "stranger/node.key")
    where = ("--superlink", f"127.0.0.1:{ports['superlink']}", "--host", "127.0.0.1", "--port", free_port())
    stranger = run("flower-supernode", *keys, *where)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(f"http://127.0.0.1:{ports['superlink']}/health", timeout=10).close()
    assert stranger.wait() != 0
