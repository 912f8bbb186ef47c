"""Certificates, clocks and keys that do not fit, at a relay and at the SuperLink: who says so, in which line, how soon.

Two containers. A relay says what it found when its SuperNode ended; a SuperLink refuses to start under a certificate
that does not hold; a mended file and a restart are enough.
"""

import os
import shutil
import time

import pytest

from experiments.harness import Target
from fedgenome.deployment.consortium import certificates, requests
from fedgenome.federation import agents
from tests.deployment import pair as pairs
from tests.deployment.pair import ONLINE, Pair

pytestmark = pytest.mark.skipif(
    pairs.COMPILER is None, reason="no C compiler (cc): it makes the clock that is off inside a relay's container"
)
HOUR, DAY = 3600, 86400
SECONDS = 60  # within which a misfit is told, from a restart on


@pytest.fixture(scope="module")
def pair(project, tmp_path_factory):
    """SuperLink and relay, the relay registered and online."""
    folder = tmp_path_factory.mktemp("pair")
    pairs.prepare(folder)
    made = project(sites=1, change=lambda document: pairs.change(folder, document))
    (folder / "tls").symlink_to(made.environment["TLS"])
    both = Pair(project=made, folder=folder)
    both.fit()
    key = bytes.fromhex((folder / "state" / "socket.key").read_text())
    with agents.listening([pairs.greeting], folder / "link" / "agents.sock", key):
        (folder / "link" / "agents.sock").chmod(0o666)
        made.up("superlink", "relay-1")
        made.wait_said("relay-1", ONLINE, 0, 1200)
        yield both


@pytest.fixture
def told(measured):
    """Note what a case came to, and hold it to its target."""

    def note(case, service, said, seconds):
        promise = Target(
            name=f"{case}: seconds until {service} says so", value=seconds, target=SECONDS, sense="at most"
        )
        line = " ".join(said.split())
        measured("misfits", promise, case=case, outcome="refused", seconds_to_detect=round(seconds, 1), said=line)

    return note


def another_key(pair, folder):
    requests.request(folder / "state", "site", "site-1", 40)
    pairs.readable(pair.folder / "link" / "node.key", (folder / "state" / "node.key").read_bytes())


def another_authority(pair, folder):
    certificates.make(folder / "tls", ["superlink"])
    pairs.readable(pair.folder / "public" / "ca.crt", (folder / "tls" / "ca.crt").read_bytes())


def another_socket_key(pair, folder):
    pairs.readable(pair.folder / "link" / "socket.key", os.urandom(32).hex().encode())


AT_THE_RELAY = {
    "clock two hours ahead": (lambda pair, _: pair.skew(2 * HOUR), r"failed +clock: 7\d\d\d s ahead of .*NTP"),
    "clock half an hour behind": (lambda pair, _: pair.skew(-HOUR / 2), r"failed +clock: 1[78]\d\d s behind .*NTP"),
    "clock 200 days ahead": (
        lambda pair, _: pair.skew(200 * DAY),
        r"failed +tls: .*expired; .*--renew.*clock is ahead.*",
    ),
    "clock two days behind": (
        lambda pair, _: pair.skew(-2 * DAY),
        r"failed +tls: .*not valid yet; this clock is behind.*",
    ),
    "another node key": (
        another_key,
        r"failed +node: /link/node.key: the SuperLink does not know this key; .*register.*",
    ),
    "another authority": (another_authority, r"failed +tls: .*certified by .*not by ca.crt; .*"),
}


@pytest.mark.parametrize("case", AT_THE_RELAY)
def test_relay_that_does_not_fit_says_so_and_works_once_mended(pair, told, tmp_path, case):
    spoil, pattern = AT_THE_RELAY[case]
    spoil(pair, tmp_path)
    told(f"relay: {case}", "relay", *pair.project.wait_said("relay-1", pattern, pair.restarted()))
    assert pair.project.state("relay-1").get("Health", {}).get("Status") != "healthy"
    pair.fit()
    assert pair.project.wait_said("relay-1", ONLINE, pair.restarted())


def test_relay_with_another_socket_key_is_unhealthy_and_says_which_file(pair, told, tmp_path):
    another_socket_key(pair, tmp_path)
    began = pair.restarted()
    pair.project.wait_said("relay-1", ONLINE, began)
    health = pair.project.run_in("relay-1", "relay", "health")
    assert health.returncode != 0 and "socket.key is not the one of the role" in health.stderr
    told("relay: another socket.key", "relay", health.stderr, 0.0)
    pair.fit()
    assert pair.project.run_in("relay-1", "relay", "health").returncode == 0


def test_second_relay_with_the_same_key_is_turned_away_and_the_first_one_stays(pair, told):
    first, said, began = pair.project.state("relay-1"), len(pair.project.logs("relay-1")), time.time()
    pair.project.compose("--profile", "run", "up", "-d", "--no-build", "--no-deps", "relay-2")
    told("relay: twice", "relay", *pair.project.wait_said("relay-2", r"failed +ended: .*one relay.*", began, 600))
    pair.project.compose("--profile", "run", "rm", "-fs", "relay-2")
    still = pair.project.state("relay-1")
    assert still["Running"] and still["StartedAt"] == first["StartedAt"]
    assert "ended:" not in pair.project.logs("relay-1")[said:]


AT_THE_SUPERLINK = {
    "expired": (
        lambda pair, patch, _: pairs.dated(pair.folder / "tls", patch, -100),
        r"server.crt: it expired .*--renew",
    ),
    "not yet valid": (
        lambda pair, patch, _: pairs.dated(pair.folder / "tls", patch, 30),
        r"server.crt: it is valid in .*",
    ),
    "another authority's": (
        lambda pair, _, folder: other_server(pair, folder),
        r"server.crt: expected .* another authority's",
    ),
}


def other_server(pair, folder):
    certificates.make(folder / "tls", pairs.HOSTS)
    shutil.copy(folder / "tls" / "server.crt", pair.folder / "tls" / "server.crt")


@pytest.mark.parametrize("case", AT_THE_SUPERLINK)
def test_superlink_under_a_certificate_that_does_not_hold_says_so_until_it_is_renewed(
    pair, told, monkeypatch, tmp_path, case
):
    spoil, pattern = AT_THE_SUPERLINK[case]
    server = (pair.folder / "tls" / "server.crt").read_bytes()
    spoil(pair, monkeypatch, tmp_path)
    told(
        f"SuperLink's certificate {case}",
        "superlink",
        *pair.project.wait_said("superlink", pattern, pair.restarted("superlink")),
    )
    (pair.folder / "tls" / "server.crt").write_bytes(server)
    pair.renew()
    assert pair.project.wait_said("relay-1", ONLINE, pair.restarted())


def test_certificate_for_another_host_is_told_by_the_relay_until_it_is_renewed(pair, told):
    pair.renew("--host", "elsewhere", "--host", "localhost", "--host", "127.0.0.1")
    pattern = r"failed +tls: .*its certificate is for another name; .*"
    told(
        "SuperLink's certificate for another host",
        "relay",
        *pair.project.wait_said("relay-1", pattern, pair.restarted()),
    )
    pair.renew(*(part for host in pairs.HOSTS for part in ("--host", host)))
    assert pair.project.wait_said("relay-1", ONLINE, pair.restarted())
