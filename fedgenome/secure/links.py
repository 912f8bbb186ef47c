"""Authenticated connections between the three parties and the dealer (DESIGN §5, *select*): what is said over them.

:mod:`~fedgenome.secure.joining` makes them. There is no pickle: of every message the receiver knows kind, number
and length beforehand::

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
import select
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Iterable, Sequence

from fedgenome.closing import Closing
from fedgenome.errors import Refused, RoleError
from fedgenome.query import PARTIES
from fedgenome.secure.generators import ROLES, stream_key

HEAD = struct.Struct(">4sBBIQ")

_MAGIC, _VERSION = b"FGLF", 1
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


class Link:
    """One peer: what is still to be written to it, and what is still expected of it.

    Attributes:
        rank: The peer's.
        secret: What this role and the peer agreed on, for :func:`~fedgenome.secure.generators.stream_key`.
        traffic: Bytes sent and expected, without TLS' own.
        moved: When anything last went either way, by the monotonic clock.
        gone: Whether the peer has left.
    """

    def __init__(self, rank: int, sock: ssl.SSLSocket, secret: bytes) -> None:
        self.rank, self.secret, self._sock = rank, secret, sock
        self._out: deque[Buffer] = deque()
        # Where the next bytes go, what is then whole, and what that must be if it is known.
        self._in: deque[tuple[Buffer, Buffer, bytes | None]] = deque()
        self._numbers = [0, 0]  # of the next frame sent and expected
        self.traffic = [0, 0]
        self.moved, self.gone = time.monotonic(), False
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # rounds are short, and wait for each other

    @property
    def busy(self) -> bool:
        """Whether anything is still to go either way."""
        return bool(self._out or self._in)

    def register(self, poll: select.poll) -> None:
        """Have ``poll`` wait for what can move."""
        poll.register(self._sock, (select.POLLOUT if self._out else 0) | (select.POLLIN if self._in else 0))

    def send(self, kind: Kind, buffers: Sequence[Buffer]) -> None:
        """Queue a message."""
        head = self._head(0, kind, buffers)
        # A short message is one record: each costs a system call at either end.
        short = sum(map(len, buffers)) < _SHORT
        self._out.extend([Buffer(b"".join([head, *buffers]))] if short else [Buffer(head), *buffers])

    def expect(self, kind: Kind, buffers: Sequence[Buffer]) -> None:
        """Say which message comes next, and where its body goes."""
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
        """Leave; the peer notices."""
        self._sock.close()

    def _head(self, direction: int, kind: Kind, buffers: Sequence[Buffer]) -> bytes:
        size, number = sum(map(len, buffers)), self._numbers[direction]
        self._numbers[direction] += 1
        self.traffic[direction] += HEAD.size + size
        return HEAD.pack(_MAGIC, _VERSION, kind, number, size)

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


class Links(Closing):
    """One role's connections to the other three. Not safe for threads.

    Attributes:
        rank: This role's rank.
        rounds: Waits for peers so far.
    """

    def __init__(self, rank: int, links: Iterable[Link], timeout_seconds: float) -> None:
        self.rank, self._timeout, self.rounds = rank, timeout_seconds, 0
        self._links = {link.rank: link for link in links}

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

    def _wait(self, busy: Sequence[Link]) -> None:
        """Wait until something can move; a peer that has not moved for the timeout has failed."""
        late = min(busy, key=lambda link: link.moved)
        left = late.moved + self._timeout - time.monotonic()
        if left <= 0:
            raise RoleError(f"{ROLES[late.rank]} gave no answer for {self._timeout:g} s")
        _poll(busy, left)


def _poll(links: Iterable[Link], seconds: float | None) -> None:
    poll = select.poll()
    for link in links:
        link.register(poll)
    poll.poll(None if seconds is None else int(seconds * 1000) + 1)
