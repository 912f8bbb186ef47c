"""How parties and dealer meet: who calls, who may answer, and on which certificate a connection stands.

Everyone is linked with everyone, over Unix sockets on one machine or TCP between several. Each role's
pass for the session (:class:`~fedgenome.secure.generators.Pass`) goes ahead in the clear; the identity
that the roster gives the role must have signed it. Then each side trusts exactly the certificate in the
other's pass for a mutual TLS 1.3 handshake::

    HELLO   >4sBBH    magic b"FGTL" | version 1 | rank | bytes of the pass; then the pass: X25519 key, 32
                      bytes | Ed25519 signature, 64 bytes | certificate (DER)

What is said then is in :mod:`~fedgenome.secure.links`.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import secrets
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgenome.errors import RoleError, WireError, require
from fedgenome.query import PARTIES
from fedgenome.secure.generators import DEALER, ROLES, Meeting, Pass
from fedgenome.secure.links import Kind, Link, Links

HELLO = struct.Struct(">4sBBH")
START_SECONDS = 120.0  # bound on joining, the wait for the others included
SILENT_SECONDS = 30.0

_MAGIC, _VERSION = b"FGTL", 1
_MOST_PASS = 2048  # bytes; ours has about 400
_GREETING_SECONDS = 10.0  # a caller that does not greet in this time is turned away
_MOST_GREETED = 256  # callers at a time: strangers must not use up threads and files
_GLANCE = 0.05


def join(
    meeting: Meeting,
    rank: int,
    identity: Ed25519PrivateKey,
    timeout_seconds: float = SILENT_SECONDS,
    start_seconds: float = START_SECONDS,
) -> Links:
    """Meet the other three and return when all are there; in any order, at any time within the limit.

    Args:
        meeting: Who meets, and where. A role listens at its own address until all have come.
        rank: Which of them this is.
        identity: Its key in the roster; used once, to sign the session's certificate.
        timeout_seconds: Silence of a peer that counts as its failure, later on.
        start_seconds: Bound on all of this.

    Raises:
        RoleError: someone did not come, or is another than the roster says.
        SpecError: ``identity`` is not the roster's.
    """
    own = Pass.make(meeting, rank, identity)
    deadline = time.monotonic() + start_seconds
    answers: queue.SimpleQueue[Link | WireError] = queue.SimpleQueue()
    found: dict[int, Link] = {}
    slots = threading.Semaphore(_MOST_GREETED)
    for lower in range(min(rank, PARTIES)):
        _thread(_dial, meeting, own, lower, deadline, answers)
    try:
        with _listening(meeting, rank) as listener:
            while len(found) < len(ROLES) - 1:
                _require_time(deadline, set(range(len(ROLES))) - {rank, *found})
                _welcome(listener, slots, functools.partial(_thread, _receive, meeting, own, slots, answers))
                _collect(answers, found)
    except BaseException:
        for link in found.values():
            link.close()
        raise
    return Links(rank, found.values(), timeout_seconds)


@contextlib.contextmanager
def _listening(meeting: Meeting, rank: int) -> Iterator[socket.socket | None]:
    """Listen at the role's own address while the others come; the dealer calls only."""
    if rank == DEALER:
        yield None
        return
    address = meeting.addresses[rank]
    try:
        listener = _listener(address)
    except OSError as fault:
        raise RoleError(f"{ROLES[rank]} cannot listen at {address}: {fault.strerror}") from None
    with listener:
        listener.settimeout(_GLANCE)
        try:
            yield listener
        finally:
            if address.startswith("/"):
                Path(address).unlink(missing_ok=True)


def _listener(address: str) -> socket.socket:
    if not address.startswith("/"):
        return socket.create_server(_host_and_port(address))
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _welcome(
    listener: socket.socket | None, slots: threading.Semaphore, greet: Callable[[socket.socket], None]
) -> None:
    """Let a caller in, if there is one and a slot for it; whoever greets it frees the slot."""
    if listener is None:
        time.sleep(_GLANCE)
        return
    if not slots.acquire(timeout=_GLANCE):
        return
    try:
        greet(listener.accept()[0])
    except OSError:  # nobody called, or the caller has gone
        slots.release()


def _collect(answers: queue.SimpleQueue[Link | WireError], found: dict[int, Link]) -> None:
    while not answers.empty():
        answer = answers.get()
        if isinstance(answer, WireError):
            raise RoleError(str(answer))
        if answer.rank in found:  # it called twice; the first connection stands
            answer.close()
        else:
            found[answer.rank] = answer


def _require_time(deadline: float, missing: Iterable[int]) -> None:
    if time.monotonic() > deadline:
        raise RoleError(f"{', '.join(ROLES[rank] for rank in sorted(missing))} did not come")


def _receive(
    meeting: Meeting,
    own: Pass,
    slots: threading.Semaphore,
    answers: queue.SimpleQueue[Link | WireError],
    raw: socket.socket,
) -> None:
    """Answer one caller. A stranger, or one that says nothing, is turned away without a word."""
    try:
        with contextlib.suppress(OSError, WireError, RoleError):
            answers.put(_greet(meeting, own, raw, None))
    finally:
        slots.release()


def _dial(
    meeting: Meeting, own: Pass, rank: int, deadline: float, answers: queue.SimpleQueue[Link | WireError]
) -> None:
    """Call until someone answers; who does must be the one meant."""
    while time.monotonic() < deadline:
        try:
            raw = _connect(meeting.addresses[rank])
        except OSError:
            time.sleep(_GLANCE)
            continue
        try:
            answers.put(_greet(meeting, own, raw, rank))
        except WireError as fault:
            answers.put(fault)
        except (OSError, RoleError):
            why = "another run or identity, or clocks that are more than a day apart"
            answers.put(WireError(f"{ROLES[rank]} turned {ROLES[own.rank]} away: {why}"))
        return


def _greet(meeting: Meeting, own: Pass, raw: socket.socket, rank: int | None) -> Link:
    """Show passes, then shake hands; ``rank`` is who was called, None for a caller."""
    with contextlib.closing(raw):
        raw.settimeout(_GREETING_SECONDS)
        raw.sendall(HELLO.pack(_MAGIC, _VERSION, own.rank, len(own.shown)) + own.shown)
        magic, version, told, size = HELLO.unpack(_read(raw, HELLO.size))
        callers = range(own.rank + 1, len(ROLES)) if rank is None else (rank,)
        if (magic, version) != (_MAGIC, _VERSION) or told not in callers or size > _MOST_PASS:
            raise WireError("HELLO of no role that is due here")
        certificate, secret = own.meet(meeting, told, _read(raw, size))
        tls = _context(own, certificate, server=rank is None).wrap_socket(raw, server_side=rank is None)
    try:
        if tls.getpeercert(binary_form=True) != certificate:
            raise WireError(f"{ROLES[told]} shook hands with another certificate than it sent")
        link = Link(told, tls, secret)
        # In TLS 1.3 the caller's handshake ends before its certificate is looked at: this tells it.
        link.send(Kind.WELCOME, ())
        link.expect(Kind.WELCOME, ())
        Links(own.rank, [link], _GREETING_SECONDS).flush()
    except BaseException:
        tls.close()
        raise
    return link


def _context(own: Pass, trusted: bytes, server: bool) -> ssl.SSLContext:
    """Return the TLS settings under which only the holder of the certificate ``trusted`` is talked to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificate itself is pinned, not a name
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # this very certificate, without its issuer
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=trusted)
    if server:
        context.num_tickets = 0  # nobody resumes
    password = secrets.token_bytes(32)  # load_cert_chain reads files only: what lies there is sealed
    key = own.tls.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(ssl.DER_cert_to_PEM_cert(own.certificate).encode() + key)
        file.flush()
        context.load_cert_chain(file.name, password=password)
    return context


def _connect(address: str) -> socket.socket:
    if not address.startswith("/"):
        return socket.create_connection(_host_and_port(address), _GREETING_SECONDS)
    raw = socket.socket(socket.AF_UNIX)
    try:
        raw.connect(address)
    except OSError:
        raw.close()
        raise
    return raw


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    require(bool(host) and port.isdecimal(), "an absolute path, or host:port", address=address)
    return host.strip("[]"), int(port)


def _read(raw: socket.socket, n_bytes: int) -> bytes:
    read = b""
    while len(read) < n_bytes:
        more = raw.recv(n_bytes - len(read))
        if not more:
            raise ConnectionResetError("closed while greeting")
        read += more
    return read


def _thread(work: Callable[..., None], *args: object, **kwargs: object) -> None:
    threading.Thread(target=work, args=args, kwargs=kwargs, daemon=True).start()
