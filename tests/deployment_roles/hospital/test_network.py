"""What a doctor finds of the way to a SuperLink, on real connections over loopback."""

import re
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fedgenome.deployment.hospital import link, network
from fedgenome.errors import SpecError
from tests.deployment_roles import tls
from tests.deployment_roles.tls import HOST, Authority, serving, superlink

NOW = datetime.now(UTC)
THERE = datetime(2026, 11, 21, 20, 36, 37, 500_000, UTC).timestamp()  # the middle of the second that Date names


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ours"))


def way(authority, port, **changes):
    return link.Link(**({"host": HOST, "port": port, "authority": authority.path, "seconds": 5.0} | changes))


def states(found):
    return {one.check: one.state for one in found}


def free_port():
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        return bound.getsockname()[1]


# ---- The whole way


def test_superlink_with_our_certificate_passes_every_check(ours):
    with serving(context=ours.context()) as port:
        found = list(network.findings(way(ours, port)))
    assert [one.state for one in found] == ["ok"] * 7


def test_nothing_behind_a_closed_port_passes(ours):
    found = list(network.findings(way(ours, free_port())))
    assert states(found) == {"authority": "ok", "port": "failed"} | dict.fromkeys(
        ("tls", "certificate", "http", "clock", "upload"), "not tested"
    )
    assert "Connection refused" in found[1].found and "firewall" in found[1].remedy


def test_nothing_behind_a_foreign_certificate_passes(ours, tmp_path):
    with serving(context=Authority(tmp_path, "Inspection").context()) as port:
        found = states(network.findings(way(ours, port)))
    assert found.pop("tls") == "failed"
    assert (found.pop("authority"), found.pop("port"), set(found.values())) == ("ok", "ok", {"not tested"})


# ---- TLS


def test_interception_is_told_with_the_issuer_that_was_seen(ours, tmp_path):
    with serving(context=Authority(tmp_path, "Hospital Inspection").context()) as port:
        found = network.handshake(way(ours, port))
    assert "certified by 'CN=Hospital Inspection', not by ca.crt" in found.found
    assert "something between may read along" in found.remedy


@pytest.mark.parametrize(
    ("made", "found", "remedy"),
    [
        ({"first": -9, "last": -1}, "its certificate has expired", "keys certificates FOLDER --renew"),
        ({"first": 1, "last": 9}, "its certificate is not valid yet", "this clock is behind"),
        ({"host": "127.0.0.9"}, "its certificate is for another name", r"--host 127\.0\.0\.1"),
    ],
)
def test_certificate_of_ours_that_does_not_hold_says_why(ours, made, found, remedy):
    with serving(context=ours.context(**made)) as port:
        seen = network.handshake(way(ours, port))
    assert (seen.state, found in seen.found) == ("failed", True)
    assert re.search(remedy, seen.remedy)


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        (tls.SuperLink, "answers, but not in TLS"),
        (tls.Closes, "ends the handshake"),
        (tls.Silent, "timed out"),
    ],
)
def test_port_without_tls_fails(ours, handler, found):
    with serving(handler) as port:
        seen = network.handshake(way(ours, port, seconds=0.5))
    assert seen.state == "failed" and found in seen.found


@pytest.mark.parametrize(("days", "state"), [(15, "ok"), (13, "failed"), (-1, "failed")])
def test_certificates_near_their_end_are_to_be_renewed(tmp_path, days, state):
    authority = Authority(tmp_path, days=100)
    assert network.authority_days(authority.path, NOW + timedelta(days=100 - days)).state == state
    with serving(context=authority.context(last=100)) as port:
        found = network.server_days(way(authority, port), NOW + timedelta(days=100 - days))
    assert found.state == state and (days > 0) == ("days left" in found.found)


# ---- HTTP


@pytest.mark.parametrize(
    ("handler", "found"),
    [(superlink(get=502), "GET /health: 502 of BaseHTTP"), (tls.Garbage, "GET /health: "), (tls.Closes, "GET /health")],
)
def test_server_that_is_not_well_over_http_1_1_fails(ours, handler, found):
    with serving(handler, ours.context()) as port:
        seen = network.health(way(ours, port))
    assert seen.state == "failed" and seen.found.startswith(found)


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "ok"), (3, "ok"), (8, "failed"), (-25, "ok"), (-35, "failed"), (400, "failed")]
)
def test_clock_is_compared_with_the_servers_as_flower_does(ours, ahead, state):
    with serving(superlink(date="Sat, 21 Nov 2026 20:36:37 GMT"), ours.context()) as port:
        found = network.clock_offset(way(ours, port), lambda: THERE + ahead)
    assert found.state == state
    assert state == "ok" or ("ahead of" if ahead > 0 else "behind") in found.found


def test_clock_without_a_date_to_compare_is_not_tested(ours):
    silent = superlink(send_response=lambda self, code: self.send_response_only(code))
    with serving(silent, ours.context()) as port:
        assert network.clock_offset(way(ours, port)).state == "not tested"


@pytest.mark.parametrize(("status", "state"), [(401, "ok"), (200, "failed"), (403, "failed"), (413, "failed")])
def test_upload_passes_only_if_the_superlink_asks_who_sends(ours, status, state):
    with serving(superlink(post=status), ours.context()) as port:
        found = network.upload(way(ours, port))
    assert found.state == state and (state == "ok" or str(status) in found.found)


def test_upload_that_is_cut_off_fails(ours):
    short = superlink(do_POST=lambda self: self.connection.close())
    with serving(short, ours.context()) as port:
        assert network.upload(way(ours, port)).state == "failed"


# ---- Proxies


def test_proxy_of_the_environment_is_the_way_that_is_tried(ours, monkeypatch):
    with serving(context=ours.context()) as port, serving(tls.Proxy) as proxy:
        monkeypatch.setenv("https_proxy", f"http://user:word@{HOST}:{proxy}")
        monkeypatch.setenv("no_proxy", "elsewhere.example")
        found = link.link(f"{HOST}:{port}", ours.path)
        assert found.proxy == f"{HOST}:{proxy}"
        assert set(states(network.findings(found)).values()) == {"ok"}
        monkeypatch.setenv("no_proxy", HOST)
        assert link.link(f"{HOST}:{port}", ours.path).proxy == ""


def test_proxy_that_refuses_is_named(ours):
    with serving(context=ours.context()) as port, serving(tls.Refusing) as proxy:
        found = network.port(replace(way(ours, port), proxy=f"{HOST}:{proxy}"))
    assert found.state == "failed" and "403" in found.found and "NO_PROXY" in found.remedy


# ---- What was named


@pytest.mark.parametrize("address", ["", "host", "host:", ":9092", "host:http", "host:0", "host:65536", "https://h:1"])
def test_address_that_is_none_is_refused(ours, address):
    with pytest.raises(SpecError, match=r"--superlink: expected host:port"):
        link.link(address, ours.path)


def test_authority_that_is_none_is_refused(tmp_path):
    (tmp_path / "ca.crt").write_text("no")
    with pytest.raises(SpecError, match="expected a certificate in PEM"):
        link.link("localhost:1", tmp_path / "ca.crt")
    with pytest.raises(SpecError, match="expected a certificate, No such file"):
        link.link("localhost:1", tmp_path / "none")


def test_bytes_that_are_sent_are_one_unknown_field_of_protobuf(ours):
    seen = []

    def keep(self):
        seen.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(401)

    with serving(superlink(do_POST=keep), ours.context()) as port:
        network.upload(way(ours, port), 300)
    assert seen[0][:3] == bytes([122, 0b10101100, 2]) and len(seen[0]) == 303
