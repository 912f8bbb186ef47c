"""Authenticated connections between the three parties and the dealer (DESIGN §5, *select*).

Everyone is linked with everyone, over Unix sockets on one machine or TCP between several. Each role's
pass for the session (:class:`~fedgenome.secure.generators.Pass`) goes ahead in the clear; the identity
that the roster gives the role must have signed it. Then each side trusts exactly the certificate in the
other's pass for a mutual TLS 1.3 handshake.

There is no pickle: of every message the receiver knows kind, number and length beforehand::

    HELLO   >4sBBH    magic b"FGTL" | version 1 | rank | bytes of the pass; then the pass: X25519 key, 32
                      bytes | Ed25519 signature, 64 bytes | certificate (DER)
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
import enum
import functools
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgenome.closing import Closing
from fedgenome.errors import Refused, RoleError, WireError, require
from fedgenome.query import PARTIES
from fedgenome.secure.generators import DEALER, ROLES, Meeting, Pass, stream_key

HELLO = struct.Struct(">4sBBH")
HEAD = struct.Struct(">4sBBIQ")
START_SECONDS = 120.0  # bound on joining, the wait for the others included
SILENT_SECONDS = 30.0

_HELLO_MAGIC, _HEAD_MAGIC, _VERSION = b"FGTL", b"FGLF", 1
_MOST_PASS = 2048  # bytes; ours has about 400
_GREETING_SECONDS = 10.0  # a caller that does not greet in this time is turned away
_MOST_GREETED = 256  # callers at a time: strangers must not use up threads and files
_GLANCE = 0.05
_SHORT = 1 << 13  # bytes
_ENDS = (ssl.SSLEOFError, ssl.SSLZeroReturnError)

Buffer = memoryview


class Kind(enum.IntEnum):
    """What a frame holds."""

    WELCOME = 1
    AGREE = 2
    WORDS = 3
    REQUEST = 4
    TUPLE = 5


# ── one connection ───────────────────────────────────────────────────────────────────────────────


class _Link:
    """One peer: what is still to be written to it, and what is still expected of it."""

    def __init__(self, rank: int, sock: ssl.SSLSocket, secret: bytes) -> None:
        self.rank, self.secret, self._sock = rank, secret, sock
        self._out: deque[Buffer] = deque()
        # Where the next bytes go, what is then whole, and what that must be if it is known.
        self._in: deque[tuple[Buffer, Buffer, bytes | None]] = deque()
        self._numbers = [0, 0]  # of the next frame sent and expected
        self.traffic = [0, 0]  # bytes sent and expected, without TLS' own
        self.moved, self.gone = time.monotonic(), False
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # rounds are short, and wait for each other

    @property
    def busy(self) -> bool:
        return bool(self._out or self._in)

    def register(self, poll: select.poll) -> None:
        poll.register(self._sock, (select.POLLOUT if self._out else 0) | (select.POLLIN if self._in else 0))

    def send(self, kind: Kind, buffers: Sequence[Buffer]) -> None:
        head = self._head(0, kind, buffers)
        # A short message is one record: each costs a system call at either end.
        short = sum(map(len, buffers)) < _SHORT
        self._out.extend([Buffer(b"".join([head, *buffers]))] if short else [Buffer(head), *buffers])

    def expect(self, kind: Kind, buffers: Sequence[Buffer]) -> None:
        head = self._head(1, kind, buffers)
        room = Buffer(bytearray(len(head)))
        self._in.append((room, room, head))
        self._in.extend((buffer, buffer, None) for buffer in buffers if len(buffer))

    def step(self) -> bool:
        """Write and read what goes without waiting; return whether anything did."""
        try:
            moved = self._push() | self._pull()
        except (OSError, EOFError) as fault:
            self.gone = not isinstance(fault, ssl.SSLError) or isinstance(fault, _ENDS)
            how = "closed its connection" if self.gone else "has a broken connection: bytes were altered on the way"
            raise RoleError(f"{ROLES[self.rank]} {how}") from None
        if moved:
            self.moved = time.monotonic()
        return moved

    def close(self) -> None:
        self._sock.close()

    def _head(self, direction: int, kind: Kind, buffers: Sequence[Buffer]) -> bytes:
        size, number = sum(map(len, buffers)), self._numbers[direction]
        self._numbers[direction] += 1
        self.traffic[direction] += HEAD.size + size
        return HEAD.pack(_HEAD_MAGIC, _VERSION, kind, number, size)

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
                target, whole, known = self._in[0]
                n_bytes = self._sock.recv_into(target)
                if not n_bytes:
                    raise EOFError
                moved = True
                if n_bytes < len(target):
                    self._in[0] = target[n_bytes:], whole, known
                    continue
                self._in.popleft()
                if known is not None and whole != known:
                    raise RoleError(f"{ROLES[self.rank]} is out of step: it sent another message than is due")
        return moved


# ── all of them ──────────────────────────────────────────────────────────────────────────────────


class Links(Closing):
    """One role's connections to the other three. Not safe for threads.

    Attributes:
        rank: This role's rank.
        rounds: Waits for peers so far.
    """

    def __init__(self, rank: int, links: Iterable[_Link], timeout_seconds: float) -> None:
        self.rank, self._timeout, self.rounds = rank, timeout_seconds, 0
        self._links = {link.rank: link for link in links}

    @classmethod
    def join(
        cls,
        meeting: Meeting,
        rank: int,
        identity: Ed25519PrivateKey,
        timeout_seconds: float = SILENT_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> Self:
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
        answers: queue.SimpleQueue[_Link | WireError] = queue.SimpleQueue()
        found: dict[int, _Link] = {}
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
        return cls(rank, found.values(), timeout_seconds)

    def key(self, rank: int, purpose: str) -> bytes:
        """Return 32 bytes that this role and ``rank`` share with nobody else, in this session only."""
        return stream_key(self._links[rank].secret, purpose)

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes sent and received so far, all peers together, without TLS' own."""
        sent, received = zip(*(link.traffic for link in self._links.values()), strict=True)
        return sum(sent), sum(received)

    @property
    def peers(self) -> tuple[int, ...]:
        """The other parties' ranks."""
        return tuple(rank for rank in range(PARTIES) if rank != self.rank)

    def send(self, rank: int, kind: Kind, *buffers: Buffer) -> None:
        """Begin to send a message; its buffers must stay as they are until :meth:`flush`."""
        link = self._links[rank]
        link.send(kind, buffers)
        link.step()

    def expect(self, rank: int, kind: Kind, *buffers: Buffer) -> None:
        """Name the next message of a peer and where it goes; it is there after :meth:`flush`."""
        self._links[rank].expect(kind, buffers)

    def flush(self) -> None:
        """Finish everything begun.

        Raises:
            RoleError: a peer is gone, was silent for the timeout, or sent another message.
        """
        self.rounds += 1
        busy = [link for link in self._links.values() if link.busy]
        for link in busy:
            link.moved = time.monotonic()
        while busy:
            moved = [link.step() for link in busy]
            busy = [link for link in busy if link.busy]
            if busy and not any(moved):
                self._wait(busy)

    def listen(self, rank: int, kind: Kind, *buffers: Buffer) -> bool:
        """Wait for one message of a peer without a limit; False: the peer left instead."""
        link = self._links[rank]
        link.expect(kind, buffers)
        try:
            while not link.step():
                _poll([link], None)
        except RoleError:
            if not link.gone:
                raise
            return False
        self.flush()
        return True

    def agree(self, digest: bytes) -> None:
        """Compare a digest with both other parties.

        Raises:
            Refused: another party's is different.
        """
        theirs = {rank: bytearray(len(digest)) for rank in self.peers}
        for rank, room in theirs.items():
            self.expect(rank, Kind.AGREE, Buffer(room))
            self.send(rank, Kind.AGREE, Buffer(digest))
        self.flush()
        for rank, room in theirs.items():
            if bytes(room) != digest:
                raise Refused("other-set", f"{ROLES[self.rank]} and {ROLES[rank]} were told the same")

    def close(self) -> None:
        """Leave; the others notice."""
        for link in self._links.values():
            link.close()

    def _wait(self, busy: Sequence[_Link]) -> None:
        """Wait until something can move; a peer that has not moved for the timeout has failed."""
        late = min(busy, key=lambda link: link.moved)
        left = late.moved + self._timeout - time.monotonic()
        if left <= 0:
            raise RoleError(f"{ROLES[late.rank]} gave no answer for {self._timeout:g} s")
        _poll(busy, left)


def _poll(links: Iterable[_Link], seconds: float | None) -> None:
    poll = select.poll()
    for link in links:
        link.register(poll)
    poll.poll(None if seconds is None else int(seconds * 1000) + 1)


# ── joining ──────────────────────────────────────────────────────────────────────────────────────


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


def _collect(answers: queue.SimpleQueue[_Link | WireError], found: dict[int, _Link]) -> None:
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
    answers: queue.SimpleQueue[_Link | WireError],
    raw: socket.socket,
) -> None:
    """Answer one caller. A stranger, or one that says nothing, is turned away without a word."""
    try:
        with contextlib.suppress(OSError, WireError, RoleError):
            answers.put(_greet(meeting, own, raw, None))
    finally:
        slots.release()


def _dial(
    meeting: Meeting, own: Pass, rank: int, deadline: float, answers: queue.SimpleQueue[_Link | WireError]
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


def _greet(meeting: Meeting, own: Pass, raw: socket.socket, rank: int | None) -> _Link:
    """Show passes, then shake hands; ``rank`` is who was called, None for a caller."""
    with contextlib.closing(raw):
        raw.settimeout(_GREETING_SECONDS)
        raw.sendall(HELLO.pack(_HELLO_MAGIC, _VERSION, own.rank, len(own.shown)) + own.shown)
        magic, version, told, size = HELLO.unpack(_read(raw, HELLO.size))
        callers = range(own.rank + 1, len(ROLES)) if rank is None else (rank,)
        if (magic, version) != (_HELLO_MAGIC, _VERSION) or told not in callers or size > _MOST_PASS:
            raise WireError("HELLO of no role that is due here")
        certificate, secret = own.meet(meeting, told, _read(raw, size))
        tls = _context(own, certificate, server=rank is None).wrap_socket(raw, server_side=rank is None)
    try:
        if tls.getpeercert(binary_form=True) != certificate:
            raise WireError(f"{ROLES[told]} shook hands with another certificate than it sent")
        link = _Link(told, tls, secret)
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
