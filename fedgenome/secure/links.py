"""Authenticated connections between the three parties and the dealer (DESIGN §5, *select*).

Everyone is linked with everyone, over Unix sockets on one machine or TCP between several. The
roster's Ed25519 identities settle who may join. For a session each role makes a certificate, signed by
its identity, that names session, roster and role and holds a fresh TLS key and a fresh X25519 key. It
goes ahead in the clear; each side trusts exactly the other's for a mutual TLS 1.3 handshake. From the
X25519 keys each pair has secrets of its own: they key the streams that replace CrypTen's generators.

There is no pickle: of every message the receiver knows kind, number and length beforehand::

    HELLO   >4sBBH    magic b"FGTL" | version 1 | rank | certificate bytes; then the certificate (DER)
    FRAME   >4sBBIQ   magic b"FGLF" | version 1 | kind | number | body bytes; then the body

    kind          body                                    from, to
    WELCOME  1    -                                       both ways, once TLS stands: number 0
    AGREE    2    SHA-256 digest, 32 bytes                each party to both others
    WORDS    3    uint64 or int64 words, little-endian    each party to both others
    REQUEST  4    dealer.REQUEST                          party 0 to the dealer
    TUPLE    5    uint64 words, little-endian             the dealer to party 0

Sockets do not block and the caller's thread serves them all: two roles that send each other more than
sockets hold do not wait for each other. A peer that is gone fails at once, a silent one after the
timeout; then the session is of no use, nor are its processes. All failures are :class:`RoleError` or
:class:`Refused`: a RuntimeError CrypTen would take for a lack of memory, and change its protocol.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
import functools
import hashlib
import queue
import secrets
import select
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedgenome.errors import Refused, RoleError, WireError, require
from fedgenome.query import PARTIES, digest_of

ROLES = (*(f"party-{rank}" for rank in range(PARTIES)), "dealer")
DEALER = PARTIES  # its rank
HELLO = struct.Struct(">4sBBH")
HEAD = struct.Struct(">4sBBIQ")
START_SECONDS = 120.0  # bound on joining, the wait for the others included
SILENT_SECONDS = 30.0

_HELLO_MAGIC, _HEAD_MAGIC, _VERSION = b"FGTL", b"FGLF", 1
_MOST_CERTIFICATE = 2048  # bytes; one of ours has about 500
_GREETING_SECONDS = 10.0  # a caller that does not greet in this time is turned away
_GLANCE = 0.05
_CLOCKS = datetime.timedelta(days=1)  # by which machines' clocks may differ
_LIFE = datetime.timedelta(days=30)  # longer than any session; freshness comes from the keys, not from dates

Buffer = memoryview


class Kind(enum.IntEnum):
    """What a frame holds."""

    WELCOME = 1
    AGREE = 2
    WORDS = 3
    REQUEST = 4
    TUPLE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """Who meets, for what and where: the same at all four. Plain strings, so that JSON can carry it.

    Attributes:
        session: What the keys are for (run, terms, …); two sessions of one name have different keys.
        identities: Ed25519 public keys as hex, by rank: the three parties, then the dealer.
        addresses: Where each rank but the dealer listens: an absolute path, or ``host:port``.
    """

    session: str
    identities: tuple[str, ...]
    addresses: tuple[str, ...]

    def __post_init__(self) -> None:
        require(len(self.identities) == len(set(self.identities)) == len(ROLES), "four different identities")
        require(all(len(_unhex(key)) == 32 for key in self.identities), "identities of 32 bytes, in hex")
        require(len(self.addresses) == PARTIES, f"{PARTIES} addresses", addresses=len(self.addresses))

    @property
    def digest(self) -> str:
        """Hex digest of session and roster; addresses may differ with the point of view."""
        return digest_of("meeting", [self.session, list(self.identities)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """A role's fresh keys for one session and the certificate that binds them to its identity."""

    rank: int
    certificate: bytes
    tls: Ed25519PrivateKey = field(repr=False)
    exchange: X25519PrivateKey = field(repr=False)

    @classmethod
    def make(cls, meeting: Meeting, rank: int, identity: Ed25519PrivateKey) -> Self:
        own = identity.public_key().public_bytes_raw().hex()
        require(own == meeting.identities[rank], f"the identity that the roster gives {ROLES[rank]}")
        tls, exchange = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
        now = datetime.datetime.now(datetime.UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ROLES[rank])])
        certificate = (
            x509.CertificateBuilder(name, name, tls.public_key(), x509.random_serial_number())
            .not_valid_before(now - _CLOCKS)
            .not_valid_after(now + _LIFE)
            .add_extension(_names(meeting, rank, exchange.public_key().public_bytes_raw()), critical=False)
            .sign(identity, None)
        )
        encoded = certificate.public_bytes(serialization.Encoding.DER)
        return cls(rank=rank, certificate=encoded, tls=tls, exchange=exchange)

    def context(self, trusted: bytes, server: bool) -> ssl.SSLContext:
        """Return the TLS settings under which only the holder of ``trusted`` (DER) is talked to."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the certificate itself is pinned, not a name
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # this very certificate, whoever issued it
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=trusted)
        if server:
            context.num_tickets = 0  # nobody resumes
        password = secrets.token_bytes(32)  # load_cert_chain reads files only: what lies there is sealed
        key = self.tls.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password),
        )
        with tempfile.NamedTemporaryFile() as file:
            file.write(ssl.DER_cert_to_PEM_cert(self.certificate).encode() + key)
            file.flush()
            context.load_cert_chain(file.name, password=password)
        return context

    def secret(self, meeting: Meeting, rank: int, public: X25519PublicKey) -> bytes:
        """Return 32 bytes that only this role and ``rank`` can compute."""
        pair = sorted([(self.rank, self.exchange.public_key().public_bytes_raw()), (rank, public.public_bytes_raw())])
        info = b"fedgenome pair 1" + b"".join(bytes([rank]) + raw for rank, raw in pair)
        hkdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=bytes.fromhex(meeting.digest), info=info)
        try:
            return hkdf.derive(self.exchange.exchange(public))
        except ValueError:  # a point of low order
            raise RoleError(f"{ROLES[rank]} sent a key with which no secret can be shared") from None


def check_certificate(meeting: Meeting, rank: int, certificate: bytes) -> X25519PublicKey:
    """Return the X25519 key in a certificate that the identity of ``rank`` made for this meeting.

    Raises:
        WireError: it is no certificate, another identity signed it, or it is for another session or role.
    """
    try:
        read = x509.load_der_x509_certificate(certificate)
        identity = Ed25519PublicKey.from_public_bytes(bytes.fromhex(meeting.identities[rank]))
        identity.verify(read.signature, read.tbs_certificate_bytes)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (name,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        raw = bytes.fromhex(name.rpartition(":")[2])
        if names != _names(meeting, rank, raw):
            raise WireError(f"certificate of {ROLES[rank]}: for another session or role")
        return X25519PublicKey.from_public_bytes(raw)
    except InvalidSignature:
        raise WireError(f"certificate of {ROLES[rank]}: not signed by the roster's identity") from None
    except (ValueError, x509.ExtensionNotFound) as fault:
        raise fault if isinstance(fault, WireError) else WireError(f"certificate of {ROLES[rank]}: malformed") from None


def _names(meeting: Meeting, rank: int, exchange: bytes) -> x509.SubjectAlternativeName:
    name = f"fedgenome:1:{meeting.digest}:{ROLES[rank]}:{exchange.hex()}"
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)])


def _unhex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


# ── one connection ───────────────────────────────────────────────────────────────────────────────


class _Link:
    """One peer: what is still to be written to it, and what is still expected of it."""

    def __init__(self, rank: int, sock: ssl.SSLSocket, secret: bytes) -> None:
        self.rank, self.secret, self._sock = rank, secret, sock
        self._out: deque[Buffer] = deque()
        self._in: deque[tuple[Buffer, bytes | None]] = deque()  # where to, and what it must be if that is known
        self._numbers = [0, 0]  # of frames sent and expected
        self.moved = time.monotonic()
        self.traffic = [0, 0]  # body and header bytes sent and received
        sock.setblocking(False)

    @property
    def busy(self) -> bool:
        return bool(self._out or self._in)

    @property
    def events(self) -> int:
        return (select.POLLOUT if self._out else 0) | (select.POLLIN if self._in else 0)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, kind: Kind, buffers: Sequence[Buffer]) -> None:
        head = self._head(0, kind, buffers)
        self.traffic[0] += len(head) + sum(len(buffer) for buffer in buffers)
        # One record for a short message: each costs a system call at either end.
        short = sum(len(buffer) for buffer in buffers) < 1 << 13
        self._out.extend([Buffer(b"".join([head, *buffers]))] if short else [Buffer(head), *buffers])

    def expect(self, kind: Kind, buffers: Sequence[Buffer]) -> None:
        head = self._head(1, kind, buffers)
        self.traffic[1] += len(head) + sum(len(buffer) for buffer in buffers)
        self._in.append((Buffer(bytearray(len(head))), head))
        self._in.extend((buffer, None) for buffer in buffers if len(buffer))

    def step(self) -> bool:
        """Write and read what goes without waiting; return whether anything did."""
        try:
            moved = self._push() | self._pull()
        except (OSError, EOFError):
            raise RoleError(f"{ROLES[self.rank]} closed its connection") from None
        if moved:
            self.moved = time.monotonic()
        return moved

    def close(self) -> None:
        self._sock.close()

    def _head(self, direction: int, kind: Kind, buffers: Sequence[Buffer]) -> bytes:
        number = self._numbers[direction]
        self._numbers[direction] += 1
        return HEAD.pack(_HEAD_MAGIC, _VERSION, kind, number, sum(len(buffer) for buffer in buffers))

    def _push(self) -> bool:
        moved = False
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self._out:
                rest = self._out[0][self._sock.send(self._out[0]) :]
                moved = True
                if len(rest):
                    self._out[0] = rest
                else:
                    self._out.popleft()
        return moved

    def _pull(self) -> bool:
        moved = False
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            while self._in:
                target, known = self._in[0]
                n_bytes = self._sock.recv_into(target)
                if not n_bytes:
                    raise EOFError
                moved = True
                self._took(target, known, n_bytes)
        return moved
