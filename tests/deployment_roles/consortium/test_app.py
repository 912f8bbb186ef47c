"""The app bundle: what is in it, who signed it, and the hub that hands it to a SuperLink."""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.supercore.fab import Fab
from flwr.supernode.start_client_internal import _verify_fab
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.deployment.consortium import app as bundles
from fedgenome.deployment.consortium import release_keys
from fedgenome.deployment.coordinator import hub
from fedgenome.errors import SpecError
from fedgenome.secure.identity import Identity

RELEASE, STRANGER = Identity.generate(), Identity.generate()
PUBLIC = RELEASE.key.public_key()


@pytest.fixture(scope="module")
def file(repository, tmp_path_factory):
    return bundles.build(repository, tmp_path_factory.mktemp("fab"))


@pytest.fixture(scope="module")
def bundle(file):
    return bundles.Bundle.read(file)


def accepted(bundle, *trusted):
    """Whether Flower's SuperNode with these release keys accepts the bundle."""
    told = {"valid_license": "Valid"}
    for one in bundle.signatures.verifications:
        told[one.public_key_id] = one.model_dump_json(exclude={"public_key_id"})
    keys = yaml.safe_load(release_keys.trusted([one.key.public_key() for one in trusted]))
    return _verify_fab(Fab(hashlib.sha256(bundle.blob).hexdigest(), bundle.blob, told), keys)


def test_the_bundle_holds_two_thin_modules_and_no_library(bundle):
    assert bundle.content == (".info/CONTENT", "LICENSE", "pyproject.toml", "server/app.py", "sites/app.py")
    assert bundle.name == "@fedgenome/fedgenome==0.1.0"


def test_flower_accepts_the_release_keys_signature_and_no_others(bundle):
    assert accepted(bundle.signed(RELEASE.key), STRANGER, RELEASE)
    assert not accepted(bundle.signed(STRANGER.key), RELEASE)
    assert not accepted(bundle, RELEASE)
    claimed = bundle.signed(STRANGER.key).signatures.verifications[0]
    forged = claimed.model_copy(update={"public_key_id": release_keys.key_id(PUBLIC)})
    assert not accepted(bundle.join(bundle.signatures.model_copy(update={"verifications": (forged,)}), "x"), RELEASE)


def test_a_changed_bundle_or_time_of_signing_keeps_no_signature(bundle):
    signed = bundle.signed(RELEASE.key, 1_800_000_000)
    (one,) = signed.signatures.verifications
    later = one.model_copy(update={"signed_at": one.signed_at + 1})
    assert signed.verified(PUBLIC) and not signed.verified(STRANGER.key.public_key())
    moved = signed.signatures.model_copy(update={"verifications": (later,)})
    assert not bundle.join(moved, "x").verified(PUBLIC) and not accepted(bundle.join(moved, "x"), RELEASE)


def test_a_release_key_may_be_an_openssh_key_that_only_its_owner_reads(tmp_path):
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    (tmp_path / "k").write_bytes(RELEASE.key.private_bytes(*form))
    (tmp_path / "k").chmod(0o644)
    with pytest.raises(SpecError, match="only its owner"):
        release_keys.release_key(tmp_path / "k")
    (tmp_path / "k").chmod(0o600)
    assert release_keys.release_key(tmp_path / "k").public_key() == PUBLIC
    (tmp_path / "k").write_bytes(ec.generate_private_key(ec.SECP384R1()).private_bytes(*form))
    with pytest.raises(SpecError, match="expected an unencrypted Ed25519 key in OpenSSH format"):
        release_keys.release_key(tmp_path / "k")


def test_a_public_key_is_read_from_hex_a_line_or_a_file_of_either(tmp_path):
    line = yaml.safe_load(release_keys.trusted([PUBLIC]))[release_keys.key_id(PUBLIC)]
    for text in (RELEASE.public, line):
        (tmp_path / "pub").write_text(text + "\n")
        assert release_keys.public_key(text) == release_keys.public_key(str(tmp_path / "pub")) == PUBLIC
    (tmp_path / "pub").write_text("GATTACA")
    with pytest.raises(SpecError, match="expected an Ed25519 public key"):
        release_keys.public_key(str(tmp_path / "pub"))


def test_an_empty_list_of_trusted_keys_is_refused():
    with pytest.raises(SpecError, match="with none Flower would check nothing"):
        release_keys.trusted([])


def test_what_is_no_bundle_or_signed_for_another_is_refused(bundle, tmp_path):
    (tmp_path / "x.fab").write_bytes(b"PK")
    with pytest.raises(SpecError, match=r"x\.fab: expected an app bundle"):
        bundles.Bundle.read(tmp_path / "x.fab")
    other = bundle.signatures.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(SpecError, match=r"expected signatures of @fedgenome/fedgenome==0\.1\.0"):
        bundle.join(other, tmp_path / "b.json")
    with pytest.raises(SpecError, match="expected the repository's root"):
        bundles.build(tmp_path, tmp_path)


# ---- The hub ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(bundle):
    with hub.listening(bundle.signed(RELEASE.key)) as port:
        yield port


def ask(port, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    with answer:
        read = answer.read()
    connection.close()
    return answer.status, read


def test_the_hub_gives_the_bundle_and_its_signatures_to_who_asks_for_the_app(served, bundle):
    for version in ("0.1.0", None):
        body = json.dumps({"app_id": "@fedgenome/fedgenome", "app_version": version, "flwr_version": "1.41.0"})
        status, told = ask(served, "POST", "/hub/fetch-fab", body)
        (one,) = json.loads(told)["verifications"]
        assert status == 200 and len(base64.urlsafe_b64decode(one["signature"] + "==")) == 64
    path = json.loads(told)["fab_url"].removeprefix(f"http://127.0.0.1:{served}")
    assert ask(served, "GET", path) == (200, bundle.blob) and ask(served, "GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/hub/fetch-fab", '{"app_id": "@fedgenome/other"}', {}, 404),
        ("POST", "/hub/fetch-fab", '{"app_id": "@fedgenome/fedgenome", "app_version": "0.2.0"}', {}, 404),
        ("POST", "/hub/fetch-fab", "[1]", {}, 400),
        ("POST", "/hub/fetch-fab", "[" * 10_000, {}, 400),
        ("POST", "/hub/fetch-fab", "x", {"Content-Length": "99999999999999999999"}, 400),
        ("POST", "/hub/fetch-fab", "x", {"Content-Length": "-1"}, 400),
        ("POST", "/elsewhere", "{}", {}, 404),
        ("GET", "/fab/../../etc/passwd", None, {}, 404),
        ("DELETE", "/health", None, {}, 501),
    ],
)
def test_the_hub_answers_nothing_else(served, method, path, body, headers, status):
    assert ask(served, method, path, body, **headers)[0] == status


def test_the_hub_turns_away_more_peers_than_it_serves_at_once(bundle):
    with hub.listening(bundle.signed(RELEASE.key)) as port:
        silent = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(hub._AT_ONCE)]
        with pytest.raises(ConnectionError):
            ask(port, "GET", "/health")
        for one in silent:
            one.close()
        status = 0
        while status != 200:  # until the hub noticed that they are gone; pytest-timeout bounds it
            with contextlib.suppress(ConnectionError):
                status, _ = ask(port, "GET", "/health")
    assert status == 200


def test_an_unsigned_bundle_or_a_taken_port_is_refused(bundle, served):
    with pytest.raises(SpecError, match="expected a signed bundle"), hub.listening(bundle):
        pytest.fail("it listened")
    with pytest.raises(SpecError, match="expected a free port"), hub.listening(bundle.signed(RELEASE.key), served):
        pytest.fail("it listened")


def test_build_sign_trust_and_serve_from_the_command_line(file, tmp_path):
    RELEASE.save(tmp_path / "release.pem")
    STRANGER.save(tmp_path / "other.pem")
    (tmp_path / "release.pem.pub").write_text(RELEASE.public)
    told = tmp_path / "bundle.json"
    for key in ("other", "release", "release"):
        signed = CliRunner().invoke(
            app, ["app", "sign", str(file), "--key", str(tmp_path / f"{key}.pem"), "--out", str(told)]
        )
        assert signed.exit_code == 0 and "sites/app.py" in signed.stdout
    assert len(bundles.Signatures.load(told).verifications) == 2
    yml = tmp_path / "trusted.yaml"
    assert (
        CliRunner().invoke(app, ["app", "trusted", str(tmp_path / "release.pem.pub"), "--out", str(yml)]).exit_code == 0
    )
    assert list(yaml.safe_load(yml.read_text())) == [release_keys.key_id(PUBLIC)]
    command = [sys.executable, "-m", "fedgenome.cli", "app", "serve", str(file), str(told), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        port = int(json.loads(process.stdout.readline())["address"].rpartition(":")[2])
        assert ask(port, "GET", "/health") == (200, b"{}")
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
