"""Who signs: the Ed25519 identities of sites, parties and dealer (DESIGN §5, *Envelopes*).

An identity signs *statements*: a kind and a list of plain values, encoded as

    "fedgenome " kind " 1" NUL canonical JSON of the list

so that a signature over one kind of thing never counts for another. A private key lies in a PEM file
(PKCS #8) that only its owner can read: no text of this module holds it. Secrets that must outlast a process, and
never leave it, are derived from it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedgenome import files
from fedgenome.errors import SpecError, WireError
from fedgenome.streams import Root

SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A role's lasting key pair.

    Attributes:
        public: The public half, 64 hex digits: what a roster holds.
        key: The private half, for the mutual TLS of parties and dealer; never printed.
    """

    public: str
    key: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> Self:
        """Return a new identity from the operating system's randomness."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def _of(cls, key: Ed25519PrivateKey) -> Self:
        return cls(public=key.public_key().public_bytes_raw().hex(), key=key)

    def sign(self, kind: str, values: Sequence[object]) -> bytes:
        """Return the 64-byte signature over a statement. The same statement gives the same bytes."""
        return self.key.sign(_statement(kind, values))

    def root(self, *labels: str | int) -> Root:
        """Return a source of randomness that lasts as long as the key, and that nobody else can make (HMAC)."""
        return Root(Root(self.key.private_bytes_raw(), seeded=False).derive("identity", *labels), seeded=False)

    def save(self, path: Path) -> None:
        """Write the private key to a new file that only its owner can read (mode 0600).

        Raises:
            SpecError: something is there already (keys are never replaced), or it cannot be written.
        """
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            files.create(path, pem, 0o600)
        except FileExistsError:
            raise SpecError(f"{path}: expected no file there yet; an identity is never overwritten") from None
        except OSError as fault:
            raise SpecError(f"{path}: expected a place for a new key file, {fault.strerror}") from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of :meth:`save`.

        Raises:
            SpecError: no file, others may read it, or it holds no Ed25519 private key.
        """
        try:
            mode, blob = path.stat().st_mode, path.read_bytes()
        except OSError as fault:
            raise SpecError(f"{path}: expected a key file, {fault.strerror}") from None
        if mode & 0o077:
            raise SpecError(f"{path}: expected a key file that only its owner can use (mode 600), got {mode & 0o777:o}")
        key = None
        with contextlib.suppress(ValueError, TypeError, UnsupportedAlgorithm):  # their texts could quote the file
            key = serialization.load_pem_private_key(blob, None)
        if not isinstance(key, Ed25519PrivateKey):
            raise SpecError(f"{path}: expected an unencrypted Ed25519 private key in PEM; make one with: keys new")
        return cls._of(key)

    @classmethod
    def kept(cls, path: Path) -> Self:
        """Return the identity in ``path``, made and saved there if absent."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            cls.generate().save(path)
        return cls.load(path)


def verify(public: str, kind: str, values: Sequence[object], signature: bytes | memoryview) -> None:
    """Check that the identity ``public`` signed a statement.

    Raises:
        WireError: it did not, or the key is none.
    """
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes(signature), _statement(kind, values))
    except (InvalidSignature, ValueError):
        raise WireError(f"{kind}: not signed by the identity of the roster") from None


def unhex(text: str, what: str) -> bytes:
    """Return the bytes that ``text`` stands for: lower-case digits only, so that bytes have one text.

    Raises:
        WireError: it is no such text.
    """
    try:
        raw = bytes.fromhex(text)
    except (ValueError, TypeError):
        raw = b""
    if not raw or raw.hex() != text:
        raise WireError(f"{what}: expected lower-case hex digits")
    return raw


def _statement(kind: str, values: Sequence[object]) -> bytes:
    text = json.dumps(list(values), separators=(",", ":"), allow_nan=False)
    return f"fedgenome {kind} 1\0{text}".encode()
