"""Identities: signatures mean one thing, files are private, and no text of ours holds a key."""

import os
import pickle
import stat
import traceback

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.errors import SpecError, WireError
from fedgenome.secure.identity import Identity, unhex, verify

ONE, OTHER = Identity.generate(), Identity.generate()
VALUES = ["digest", 3, "site"]


def secrets_of(identity):
    """Every form in which the private key could show."""
    raw = identity.key.private_bytes_raw()
    pem = identity.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return raw.hex(), repr(raw), pem.splitlines()[1]


def test_signature_of_a_statement_holds_for_it_and_is_the_same_each_time():
    signature = ONE.sign("bundle", VALUES)
    verify(ONE.public, "bundle", VALUES, signature)
    assert signature == ONE.sign("bundle", VALUES) and len(signature) == 64


@pytest.mark.parametrize(
    ("public", "kind", "values"),
    [
        (OTHER.public, "bundle", VALUES),
        (ONE.public, "party key", VALUES),
        (ONE.public, "bundle", ["digest", "3", "site"]),
        (ONE.public, "bundle", ["digest", 3]),
        (ONE.public, "bundle", [["digest", 3, "site"]]),
        (ONE.public, "bundle", ["digest,3", "site"]),
        ("", "bundle", VALUES),
        ("no hex", "bundle", VALUES),
        (ONE.public[:-2], "bundle", VALUES),
    ],
    ids=["signer", "kind", "type", "fewer", "nested", "joined", "no signer", "no hex", "short"],
)
def test_signature_holds_for_no_other_signer_kind_or_statement(public, kind, values):
    with pytest.raises(WireError, match=f"^{kind}: not signed by the identity of the roster$"):
        verify(public, kind, values, ONE.sign("bundle", VALUES))


@pytest.mark.parametrize("place", range(64))
def test_signature_altered_in_any_byte_is_refused(place):
    signature = bytearray(ONE.sign("bundle", VALUES))
    signature[place] ^= 1 << place % 8
    with pytest.raises(WireError, match="not signed"):
        verify(ONE.public, "bundle", VALUES, bytes(signature))


def test_file_gives_the_identity_back_and_is_for_its_owner_only(tmp_path):
    ONE.save(tmp_path / "key.pem")
    again = Identity.load(tmp_path / "key.pem")
    assert again == ONE and again.sign("x", []) == ONE.sign("x", [])
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    text = (tmp_path / "key.pem").read_text()
    assert text.startswith("-----BEGIN PRIVATE KEY-----\n") and secrets_of(ONE)[2] in text


def test_a_file_is_never_overwritten_nor_a_link_followed(tmp_path):
    path = tmp_path / "key.pem"
    ONE.save(path)
    with pytest.raises(SpecError, match=r"key\.pem: expected no file there yet"):
        OTHER.save(path)
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(SpecError, match=r"link\.pem: expected"):
        OTHER.save(tmp_path / "link.pem")
    assert Identity.load(path) == ONE and not (tmp_path / "elsewhere.pem").exists()


def pem(key, protection=None):
    how = protection or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


WRONG = {
    "empty": b"",
    "text": b"GATTACA",
    "half a key": pem(ONE.key)[:60],
    "another kind": pem(x25519.X25519PrivateKey.generate()),
    "encrypted": pem(ONE.key, serialization.BestAvailableEncryption(b"word")),
    "public": ONE.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_one_clear_error_that_quotes_nothing(name, tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(WRONG[name])
    path.chmod(0o600)
    with pytest.raises(SpecError, match=r"^\S+key\.pem: expected an unencrypted Ed25519 private key in PEM") as fault:
        Identity.load(path)
    assert "GATTACA" not in "".join(traceback.format_exception(fault.value))


def test_a_missing_file_and_a_readable_one_are_refused(tmp_path):
    path = tmp_path / "key.pem"
    with pytest.raises(SpecError, match="expected a key file, No such file"):
        Identity.load(path)
    ONE.save(path)
    path.chmod(0o640)
    with pytest.raises(SpecError, match=r"only its owner can use \(mode 600\), got 640"):
        Identity.load(path)


def test_a_kept_identity_is_made_once(tmp_path):
    first = Identity.kept(tmp_path / "new" / "key.pem")
    assert Identity.kept(tmp_path / "new" / "key.pem") == first != Identity.kept(tmp_path / "other.pem")


def test_no_text_of_an_identity_holds_its_key(tmp_path):
    with pytest.raises(TypeError) as unpicklable:
        pickle.dumps(ONE)
    ONE.save(tmp_path / "a.pem")
    with pytest.raises(SpecError) as taken:
        ONE.save(tmp_path / "a.pem")
    told = [repr(ONE), str(ONE), f"{ONE!r}", repr([ONE]), str(unpicklable.value), str(taken.value)]
    assert not any(secret in text for secret in secrets_of(ONE) for text in told)
    assert ONE.public in repr(ONE)


def test_public_key_is_that_of_the_private_one():
    raw = ONE.key.private_bytes_raw()
    assert ed25519.Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw().hex() == ONE.public


@given(st.binary(min_size=1, max_size=40))
def test_bytes_have_one_text(raw):
    assert unhex(raw.hex(), "x") == raw
    for text in (raw.hex() + " ", raw.hex() + "0", " " + raw.hex(), raw.hex().upper() + "A"):
        with pytest.raises(WireError, match=r"^x: expected lower-case hex digits$"):
            unhex(text, "x")


@pytest.mark.parametrize("text", ["", "ABCD", "zz", None, 3, b"00", ["00"]])
def test_anything_else_is_no_hex(text):
    with pytest.raises(WireError, match="lower-case hex digits"):
        unhex(text, "x")


def test_umask_cannot_open_a_key_to_others(tmp_path):
    before = os.umask(0)
    try:
        ONE.save(tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
