"""The SuperLink's certificate: TLS accepts it under the names it was made for, and nothing else."""

import contextlib
import datetime
import socket
import ssl
import stat
import threading

import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.deployment.consortium import certificates
from fedgenome.errors import SpecError


@pytest.fixture
def folder(tmp_path):
    certificates.make(tmp_path / "c", ["superlink", "127.0.0.1"], 90)
    return tmp_path / "c"


def shake_hands(folder, host, authority=None):
    """Shake hands over a socket pair; raise what the client's side raises."""
    ours, theirs = socket.socketpair()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    client = ssl.create_default_context(cafile=authority or folder / "ca.crt")
    client.verify_flags |= ssl.VERIFY_X509_STRICT

    def serve():
        try:
            server.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client.wrap_socket(ours, server_hostname=host).close()
    finally:
        ours.close()
        thread.join()


def test_tls_accepts_the_server_under_each_of_its_names_and_no_other(folder):
    shake_hands(folder, "superlink")
    shake_hands(folder, "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(folder, "elsewhere")


def test_tls_refuses_the_server_of_another_authority(folder, tmp_path):
    certificates.make(tmp_path / "d", ["superlink"])
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_hands(folder, "superlink", tmp_path / "d" / "ca.crt")


def test_private_keys_are_for_their_owner_alone_and_nothing_is_overwritten(folder):
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.crt": 0o644, "server.key": 0o600, "server.crt": 0o644}
    before = (folder / "ca.key").read_bytes()
    with pytest.raises(SpecError, match=r"expected none of ca\.key, .*never overwritten"):
        certificates.make(folder, ["superlink"])
    assert (folder / "ca.key").read_bytes() == before


def test_a_renewed_certificate_has_the_same_names_and_authority_and_more_days(folder):
    first = certificates.read(folder / "server.crt")
    before = (folder / "ca.crt").read_bytes()
    certificates.renew(folder, 200)
    second = certificates.read(folder / "server.crt")
    assert 89.9 < certificates.days_left(first) <= 90 and 199.9 < certificates.days_left(second) <= 200
    assert first.serial_number != second.serial_number and (folder / "ca.crt").read_bytes() == before
    shake_hands(folder, "superlink")


def test_an_expired_certificate_is_refused_and_its_days_are_negative(folder, monkeypatch):
    past = certificates._now() - datetime.timedelta(days=3)
    monkeypatch.setattr(certificates, "_now", lambda: past)
    certificates.renew(folder, 2)
    monkeypatch.undo()
    assert -1.1 < certificates.days_left(certificates.read(folder / "server.crt")) < -0.9
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(folder, "superlink")


@pytest.mark.parametrize(
    ("days", "told"),
    [(-1, "is valid in 1.0"), (0.01, None), (89.9, None), (91, r"expired 1.0 days ago; renew it: .*--renew")],
)
def test_a_certificate_is_checked_against_the_clock(folder, days, told):
    now = certificates._now() + datetime.timedelta(days=days)
    refused = contextlib.nullcontext() if told is None else pytest.raises(SpecError, match=f"server.crt: it {told}")
    with refused as fault:
        certificates.check(folder, now)
    assert (fault is None) == (told is None)


@pytest.mark.parametrize("name", ["ca.crt", "server.crt", "server.key"])
def test_a_certificate_is_checked_against_its_authority_and_key(folder, tmp_path, name):
    certificates.make(tmp_path / "d", ["superlink"])
    (folder / name).write_bytes((tmp_path / "d" / name).read_bytes())
    with pytest.raises(
        SpecError, match=r"expected (a certificate that .*ca.crt signed|the key of server.crt), got another"
    ):
        certificates.check(folder)


@pytest.mark.parametrize(
    ("hosts", "days", "message"),
    [
        ([], 90, "at least one --host"),
        (["a", "a"], 90, "every host once"),
        (["a:9092"], 90, "without port, got host='a:9092'"),
        (["a"], 0, "0 < days <= 1095"),
        (["a"], float("nan"), "0 < days <= 1095"),
        (["a"], 5000, "0 < days <= 1095"),
    ],
)
def test_wrong_hosts_or_days_make_no_file(tmp_path, hosts, days, message):
    with pytest.raises(SpecError, match=message):
        certificates.make(tmp_path / "c", hosts, days)
    assert not (tmp_path / "c").exists()


def test_renewing_needs_the_authoritys_own_key(folder, tmp_path):
    certificates.make(tmp_path / "d", ["superlink"])
    (folder / "ca.key").write_bytes((tmp_path / "d" / "ca.key").read_bytes())
    with pytest.raises(SpecError, match=r"ca\.key: expected the key of ca\.crt, got another"):
        certificates.renew(folder)


def test_certificates_from_the_command_line(tmp_path):
    command = ["keys", "certificates", str(tmp_path / "c")]
    made = CliRunner().invoke(app, [*command, "--host", "superlink", "--days", "5"])
    assert made.exit_code == 0 and "server.crt  5.0 days left" in made.stdout
    assert CliRunner().invoke(app, [*command, "--host", "superlink"]).exit_code == 2
    renewed = CliRunner().invoke(app, [*command, "--renew", "--days", "50"])
    assert renewed.exit_code == 0 and "server.crt  50.0 days left" in renewed.stdout
