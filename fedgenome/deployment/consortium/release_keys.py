"""Release keys: who may sign the app bundle, as files, as text, and as the list that a SuperNode is given."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedgenome.deployment import disk
from fedgenome.errors import SpecError
from fedgenome.secure.identity import Identity

_PUBLIC = re.compile(r"ssh-|[0-9a-f]{64}$")
_MOST_BYTES = 4096


def release_key(path: Path) -> Ed25519PrivateKey:
    """Read a release key: an identity file (PEM) or an OpenSSH key, unencrypted, for its owner alone.

    Raises:
        SpecError: no file, others may read it, or it holds no Ed25519 private key.
    """
    if not path.is_file() or b"OPENSSH PRIVATE KEY" not in path.read_bytes()[:64]:
        return Identity.load(path).key
    if path.stat().st_mode & 0o077:
        raise SpecError(f"{path}: expected a key file that only its owner can use (mode 600)")
    key = None
    with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):  # their texts could quote the file
        key = serialization.load_ssh_private_key(path.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise SpecError(f"{path}: expected an unencrypted Ed25519 key in OpenSSH format")
    return key


def public_key(text: str) -> Ed25519PublicKey:
    """Return the public key that ``text`` is: 64 hex digits or an OpenSSH line; or that the file it names holds.

    Raises:
        SpecError: it is neither.
    """
    line = text.strip()
    if not _PUBLIC.match(line):
        line = disk.read(Path(text), "a public key", _MOST_BYTES).decode(errors="replace").strip()
    key = None
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        if line.startswith("ssh-"):
            key = serialization.load_ssh_public_key(line.encode())
        else:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(line))
    if not isinstance(key, Ed25519PublicKey):
        raise SpecError(f"{text}: expected an Ed25519 public key: 64 hex digits, or a line ssh-ed25519 …")
    return key


def trusted(keys: Sequence[Ed25519PublicKey]) -> str:
    """Return the YAML that a SuperNode takes as ``--trusted-entities``: apps signed by any of ``keys`` run there.

    Raises:
        SpecError: no key: Flower takes an empty list for no check at all.
    """
    if not keys:
        raise SpecError("trusted: expected at least one release key; with none Flower would check nothing")
    return yaml.safe_dump({key_id(key): _openssh(key) for key in keys})


def save_trusted(keys: Sequence[Ed25519PublicKey], path: Path) -> None:
    """Write :func:`trusted` in the place of ``path``, whole or not at all."""
    disk.replace(path, trusted(keys).encode(), "the trusted keys")


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name under which signatures and trusted lists hold a release key."""
    return f"release-{key.public_bytes_raw().hex()}"


def _openssh(key: Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
