"""A relay that is turned away finds out why: its role's key, the SuperLink's certificate, its clock."""

import os
import re

import pytest

from fedgenome.deployment import relay
from fedgenome.deployment.consortium import requests
from fedgenome.federation import agents
from tests.deployment_roles import tls
from tests.deployment_roles.tls import HOST, Authority, serving


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture
def state(tmp_path):
    requests.request(tmp_path / "state", "site", "site-1", 40)
    return tmp_path / "state"


@pytest.fixture
def role(state, monkeypatch):
    """An agent behind a socket, and a relay that was told of both."""
    monkeypatch.setenv(agents.ADDRESS, str(state / "agents.sock"))
    monkeypatch.setenv(agents.KEY_FILE, str(state / "socket.key"))
    key = bytes.fromhex((state / "socket.key").read_text())
    with agents.listening([lambda _kind, call: call], state / "agents.sock", key):
        yield state


def said(capsys, port, authority, state):
    assert relay.main([f"{HOST}:{port}", str(authority.path), str(state / "node.key"), "ended"]) == 1
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed")]


def test_role_is_greeted_by_the_key_that_the_relay_has(role):
    assert relay.role().state == "ok"
    (role / "socket.key").write_text(os.urandom(32).hex())
    found = relay.role()
    assert "not the key of the role" in found.found and "copy socket.key" in found.remedy
    (role / "socket.key").write_text("none")
    assert "expected a key in hex" in relay.role().found


def test_role_that_is_away_or_unnamed_is_told(state, monkeypatch):
    monkeypatch.setenv(agents.KEY_FILE, str(state / "socket.key"))
    assert relay.role().state == "not tested"
    monkeypatch.setenv(agents.ADDRESS, str(state / "agents.sock"))
    assert re.search(r"agents.sock: No such file", relay.role().found)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"first": -9, "last": -3}, "tls: .*certificate has expired; the coordinator renews it .*--renew"),
        ({"first": 3}, "tls: .*not valid yet; this clock is behind: set it by NTP"),
        ({"host": "127.0.0.2"}, "tls: .*certificate is for another name; .*--host"),
    ],
)
def test_certificate_that_does_not_hold_is_one_line_with_its_remedy(ours, role, capsys, made, told):
    with serving(context=ours.context(**made)) as port:
        (line,) = said(capsys, port, ours, role)
    assert re.search(told, line)


def test_clock_that_is_off_is_one_line_with_its_remedy(ours, role, capsys):
    long_ago = tls.superlink(date="Sat, 21 Nov 2020 20:36:37 GMT")
    with serving(long_ago, ours.context()) as port:
        (line,) = said(capsys, port, ours, role)
    assert re.search(r"clock: \d+ s ahead of the SuperLink's: it refuses a relay's signature; set this clock", line)


def test_node_key_that_is_none_is_named(ours, role, capsys):
    (role / "node.key").write_text("none")
    with serving(context=ours.context()) as port:
        (line,) = said(capsys, port, ours, role)
    assert "node.key: expected a relay's private key" in line
