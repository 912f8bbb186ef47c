"""Sealing shares to a party (DESIGN §5, *Envelopes*).

HPKE (RFC 9180; X25519 with ML-KEM-768) seals only 32-byte secrets: seeds and content keys. Its
one-shot form has no associated data and cannot stream, so the context goes into ``info`` and a vector
travels as chunks of AES-256-GCM under a fresh content key:

    sealed content key | chunk 0 | chunk 1 | … | last chunk       each chunk: ≤ 1 MiB, then a 16-byte tag
    nonce of a chunk = 7 zero bytes | chunk index, 4 bytes, big-endian | 1 if it is the last, else 0

A content key seals one vector only, so nonces never repeat, and a chunk cut off, moved, repeated or
appended has another nonce and fails.
"""

from __future__ import annotations

import hashlib
import io
import secrets
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedgenome.errors import WireError, require
from fedgenome.secure.ring import Words
from fedgenome.secure.sharing import Masked

CHUNK_BYTES = 1 << 20
TAG_BYTES = 16
SECRET_BYTES = 32
SMALL_BYTES = hpke.KEM.MLKEM768_X25519.enc_length() + SECRET_BYTES + TAG_BYTES  # 1168: a sealed secret
PUBLIC_BYTES = 1184 + 32  # ML-KEM-768, then X25519

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
_NONCE = struct.Struct(">7xIB")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PublicKey:
    """A party's public encryption key.

    Attributes:
        raw: 1216 bytes: ML-KEM-768 (1184), then X25519 (32).
    """

    raw: bytes
    _key: hpke.MLKEM768X25519PublicKey = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.raw) != PUBLIC_BYTES:
            raise WireError(f"public key: expected {PUBLIC_BYTES} bytes, got {len(self.raw)}")
        try:
            lattice = mlkem.MLKEM768PublicKey.from_public_bytes(self.raw[:1184])
            curve = x25519.X25519PublicKey.from_public_bytes(self.raw[1184:])
        except ValueError:
            raise WireError("public key: expected an ML-KEM-768 key, then an X25519 key") from None
        object.__setattr__(self, "_key", hpke.MLKEM768X25519PublicKey(lattice, curve))

    def __repr__(self) -> str:
        return f"PublicKey(sha256={hashlib.sha256(self.raw).hexdigest()[:16]}…)"

    def to_bytes(self) -> bytes:
        """Return the 1216 raw bytes."""
        return self.raw

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read a key.

        Raises:
            WireError: the bytes are no key.
        """
        return cls(raw=bytes(raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyKey:
    """A party's encryption key for one run. It is held in memory only and never written.

    Attributes:
        public: The half that sites seal to.
    """

    public: PublicKey
    _key: hpke.MLKEM768X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the operating system's randomness."""
        lattice, curve = mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate()
        raw = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        return cls(public=PublicKey(raw=raw), _key=hpke.MLKEM768X25519PrivateKey(lattice, curve))


def seal_small(secret: bytes, public: PublicKey, info: bytes) -> bytes:
    """Return a 32-byte ``secret`` sealed to ``public`` under the context ``info`` (1168 bytes).

    Raises:
        WireError: the key is a low-order point, which would share no secret.
    """
    require(len(secret) == SECRET_BYTES, f"a secret of {SECRET_BYTES} bytes", length=len(secret))
    try:
        return _SUITE.encrypt(secret, public._key, info=info)
    except ValueError:
        raise WireError("public key: no secret can be shared with it") from None


def open_small(sealed: bytes | memoryview, key: PartyKey, info: bytes) -> bytes:
    """Return the secret of :func:`seal_small`.

    Raises:
        WireError: wrong length, key or context, or altered bytes.
    """
    if len(sealed) != SMALL_BYTES:
        raise WireError(f"sealed secret: expected {SMALL_BYTES} bytes, got {len(sealed)}")
    try:
        return _SUITE.decrypt(bytes(sealed), key._key, info=info)
    except (InvalidTag, ValueError):
        raise WireError("sealed secret: not sealed to this key and context") from None


def vector_bytes(n_bytes: int) -> int:
    """Return the length of a sealed vector of ``n_bytes``."""
    return SMALL_BYTES + n_bytes + TAG_BYTES * _n_chunks(n_bytes)


def seal_vector(words: Words | Masked, public: PublicKey, info: bytes, prefix: bytes = b"") -> bytes:
    """Return a vector sealed to ``public`` under ``info``, after ``prefix`` in the clear.

    Beside the result only one chunk is held.
    """
    vector = words if isinstance(words, Masked) else Masked(words)
    secret = secrets.token_bytes(SECRET_BYTES)
    cipher = AESGCM(secret)
    # Room for the whole result at once: getvalue() then hands out this very buffer, uncopied.
    out = io.BytesIO()
    start = out.write(prefix + seal_small(secret, public, info))
    out.seek(len(prefix) + vector_bytes(vector.n_bytes) - 1)
    out.write(b"\0")
    with out.getbuffer() as room:
        for nonce, block in zip(_nonces(_n_chunks(vector.n_bytes)), vector.blocks(CHUNK_BYTES), strict=True):
            start += cipher.encrypt_into(nonce, block.data.cast("B"), None, room[start:][: block.nbytes + TAG_BYTES])
    return out.getvalue()


def open_vector_into(blob: bytes | memoryview, key: PartyKey, info: bytes, sink: Callable[[memoryview], None]) -> None:
    """Open a vector of :func:`seal_vector` and hand it chunk by chunk, in order, to ``sink``.

    A chunk is handed on once it is authentic itself; a later one may still fail. The memory of a
    chunk is used again after ``sink`` returns.

    Raises:
        WireError: wrong key or context; altered, missing, moved or additional bytes.
    """
    view = memoryview(blob)
    cipher = AESGCM(open_small(view[:SMALL_BYTES], key, info))
    sealed = view[SMALL_BYTES:]
    scratch = memoryview(bytearray(min(CHUNK_BYTES, len(sealed))))
    step = CHUNK_BYTES + TAG_BYTES
    for index, nonce in enumerate(_nonces(max(1, -(-len(sealed) // step)))):
        chunk = sealed[index * step : (index + 1) * step]
        plain = scratch[: max(len(chunk) - TAG_BYTES, 0)]
        try:
            cipher.decrypt_into(nonce, chunk, None, plain)
        except (InvalidTag, ValueError):
            raise WireError(f"sealed vector: chunk {index} is not what was sealed") from None
        sink(plain)


def fixing(sealed: memoryview) -> Iterator[memoryview]:
    """Yield what fixes a sealed secret or vector for whoever lacks its content key: the secret, then every chunk's tag.

    Under a content key that the sealed secret fixes, another chunk with the same tag is a forgery of AES-GCM.
    """
    yield sealed[:SMALL_BYTES]
    step = CHUNK_BYTES + TAG_BYTES
    for start in range(SMALL_BYTES, len(sealed), step):
        yield sealed[start : start + step][-TAG_BYTES:]


def _n_chunks(n_bytes: int) -> int:
    return max(1, -(-n_bytes // CHUNK_BYTES))


def _nonces(n_chunks: int) -> Iterator[bytes]:
    return (_NONCE.pack(index, index == n_chunks - 1) for index in range(n_chunks))
