"""A real SuperLink and SuperNode on loopback, with our certificates, node keys and signed bundle.

TLS and node authentication as in a deployment. The same bundle is submitted three times: signed by the release
key, signed by another in its name, not signed at all. What was accepted once is verified again. That takes a minute of
processes, so an ordinary run of the tests asks only a hospital's doctor what it finds of the SuperLink.
"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.deployment import relay
from fedgenome.deployment.consortium import app as bundles
from fedgenome.deployment.consortium import certificates, nodes, release_keys, requests
from fedgenome.deployment.coordinator import hub
from fedgenome.deployment.coordinator import superlink as machine
from fedgenome.deployment.coordinator.superlink import SuperLink
from fedgenome.deployment.hospital import link, network
from fedgenome.errors import SpecError
from fedgenome.secure.identity import Identity
from tests.deployment_roles import bundles as apps

BIN = Path(sys.executable).parent
RELEASE, STRANGER = Identity.generate(), Identity.generate()
APP = "@fedgenome/fedgenome==0.1.0"
pytestmark = pytest.mark.timeout(300)
REFUSED = "The FAB could not be verified."


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Keys, certificates, trusted list and Flower's own configuration in a folder."""
    folder = tmp_path_factory.mktemp("superlink")
    certificates.make(folder, ["127.0.0.1"], 90)
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
def run(place, ports, repository):
    """Run one of Flower's programs to its end, or start it; a SuperNode as a relay's image does."""
    env = os.environ | {"FLWR_HOME": str(place / "home"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    env |= {"FLWR_SUPERGRID_API_URL": f"http://127.0.0.1:{ports['hub']}", "NO_PROXY": "127.0.0.1"}

    def start(name, *arguments):
        log = (place / f"{name}.log").open("ab")
        ours = {"PATH": f"{repository / 'sites'}:{env['PATH']}"} if name == "flower-supernode" else {}
        with log:
            command = [str(BIN / name), *map(str, arguments)]
            return subprocess.Popen(command, cwd=place, env=env | ours, stdout=log, stderr=log)

    return start


def end(process):
    """End a process and all that it started, also what runs in sessions of its own, and wait until they are gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        every = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        process.terminate()
        psutil.wait_procs(every, timeout=10)
        for one in every:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


def configured(place, **changes):
    """Return what is to be served of ``place``."""
    folders = {"state": place, "certificates": place, "jobs": place}
    files = {"bundle": place / "app.fab", "signatures": place / "bundle.json"}
    return SuperLink(**({"port": 1, "hub": 1} | folders | files | changes))


@pytest.fixture(scope="module")
def superlink(run, place, ports):
    process = run(*configured(place, port=ports["superlink"], hub=ports["hub"]).commands[1])
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
def starter(run, place, ports, superlink):
    process = run(*configured(place, port=ports["superlink"]).commands[2])
    yield process
    end(process)


@pytest.fixture(scope="module")
def supernode(run, place, ports, starter):
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

    def submit(name, what=APP):
        answer = place / f"{name}.json"
        assert run("flwr", "run", what, "here", "--run-config", f'out="{answer}"').wait() == 0
        while not answer.exists():  # pytest-timeout bounds it
            assert supernode.poll() is None, (place / "flower-supernode.log").read_text()[-2000:]
            time.sleep(0.1)
        return json.loads(answer.read_text())

    root = apps.write(place / "app", "answered")
    bundle = bundles.Bundle.read(bundles.build(root, place))
    answers = {}
    with hub.listening(bundle.signed(RELEASE.key), ports["hub"]):
        answers["signed"] = submit("signed")
    (one,) = bundle.signed(STRANGER.key).signatures.verifications
    one = one.model_copy(update={"public_key_id": release_keys.key_id(RELEASE.key.public_key())})
    claimed = bundle.signatures.model_copy(update={"verifications": (one,)})
    with hub.listening(bundle.join(claimed, place), ports["hub"]):
        answers["forged"] = submit("forged")
    answers["plain"] = submit("plain", str(root))
    return answers


class Idle(SuperLink):
    """Three processes that do nothing; one of them not for long.

    Attributes:
        brief: Which.
    """

    brief = 0

    @property
    def commands(self):
        return tuple(["sleep", "0" if number == self.brief else "600"] for number in range(3))


@pytest.mark.parametrize("brief", range(3))
def test_whichever_of_the_three_processes_ends_the_others_end_with_it(place, tmp_path, monkeypatch, brief):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(machine, "_GLANCE_SECONDS", 0.01)
    monkeypatch.setattr(Idle, "brief", brief)
    told = {field.name: getattr(configured(place), field.name) for field in dataclasses.fields(SuperLink)}
    try:
        assert machine.serve(Idle(**told), tmp_path / "none.json") == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [one for one in psutil.Process().children() if "sleep" in one.name()] == []


def test_a_certificate_that_does_not_name_the_machines_own_address_is_refused_in_one_line(tmp_path):
    certificates.make(tmp_path, ["superlink.example.org"], 90)
    command = ["superlink", "app.fab", "bundle.json", "--nodes", "nodes.json", "--tls"]
    told = CliRunner().invoke(app, [*command, str(tmp_path), "--state", str(tmp_path), "--jobs", str(tmp_path)])
    assert told.exit_code == 2 and "expected a certificate that names 127.0.0.1, " in told.output, told.output
    with pytest.raises(SpecError, match=r"got superlink\.example\.org; fedgenome keys certificates FOLDER --renew"):
        configured(tmp_path).check()
    certificates.renew(tmp_path, 90, ["superlink.example.org", "127.0.0.1"])
    configured(tmp_path).check()


@pytest.mark.usefixtures("superlink")
def test_a_superlink_passes_every_check_of_a_hospitals_doctor(place, ports):
    found = network.findings(link.link(f"127.0.0.1:{ports['superlink']}", place / "ca.crt"))
    assert {one.check: one.state for one in found if one.state != "ok"} == {}


@pytest.mark.usefixtures("superlink")
def test_a_key_that_is_not_registered_is_told_from_one_that_is(place, ports, run, tmp_path, capsys):
    address, authority = f"127.0.0.1:{ports['superlink']}", place / "ca.crt"
    node = requests.request(tmp_path / "state", "site", "site-2", 40)
    nodes.save_keys(requests.relays([node]), tmp_path / "keys")
    key = tmp_path / "state" / "node.key"
    assert relay.main([address, str(authority), str(key), "ended"]) == 1
    assert re.search(r"failed +node: .*node.key: the SuperLink does not know this key; .*", capsys.readouterr().err)
    assert (
        run("flwr", "supernode", "register", tmp_path / "keys" / "site-2.pub", "here", "--name", "site-2").wait() == 0
    )
    assert relay.main([address, str(authority), str(key)]) == 0
    assert relay.main([address, str(authority), str(key), "ended"]) == 1
    assert re.search(r"failed +ended: .*a key is for one relay", capsys.readouterr().err)


@pytest.mark.parametrize(("before", "waits"), [(machine.PATIENCE, 60000), ("", 5000)], ids=["ours", "Flower's own"])
def test_a_superlink_waits_a_minute_for_its_database(tmp_path, before, waits):
    code = f"""{before}
from flwr.supercore.sql_mixin import SqlMixin
from sqlalchemy import MetaData
store = type("Store", (SqlMixin,), {{"get_metadata": lambda self: MetaData()}})("sqlite:///{tmp_path}/x.db")
store.initialize()
print(store.query("PRAGMA busy_timeout"))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(r"\d+", told.stdout.splitlines()[-1])[0] == str(waits), told.stderr


@pytest.mark.deployment
def test_a_supernode_runs_the_signed_bundle_under_its_registered_name(told):
    assert told["signed"] == ["answered", ["site-1"]]


@pytest.mark.deployment
def test_a_supernode_refuses_an_unsigned_bundle_and_another_keys_signature(told):
    assert (told["plain"][0], told["forged"][0]) == (REFUSED, REFUSED)
