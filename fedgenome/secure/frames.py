"""Messages between a party and whoever drives it, over a local socket: no pickle, one reply a request.

A connection is one of ``multiprocessing.connection``, for its HMAC challenge: both ends hold a key, and
the socket lies in a folder of mode 0700. Its methods are not used: ``send`` and ``recv`` pickle,
``recv_bytes`` copies. A frame is written as its ``send_bytes`` would::

    LENGTH  >I        bytes of all that follows, under 2^31
    HEAD    >4sBBIQ   magic b"FGPF" | version 1 | kind | header bytes | body bytes
    header            canonical JSON object, ASCII
    body              raw bytes; only ``part`` and ``words`` have one

    kind      header                              body                 reply
    HELLO     {}                                  -                    OK {index, identity}
    PIN       {study, run, terms, roster}         -                    OK {terms, public, signature}
    BEGIN     {query}                             -                    OK {query}
    PART      {site, stamp}                       a sealed part        OK {}
    REVEAL    {query, sites}                      -                    WORDS {query, set}; of a selection
                                                                       WINNERS {query, set, winners}
    ABORT     {}                                  -                    OK {}
    CLOSE     {}                                  -                    OK {}, then the party ends
    OK, WORDS as above; WORDS' body: one result share, little-endian unsigned words
    WINNERS   as above; indices, largest first    -                    -
    REFUSED   {code, rule}                        -                    -
"""

from __future__ import annotations

import enum
import json
import select
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from fedgenome.errors import WireError, require

LENGTH = struct.Struct(">I")
HEAD = struct.Struct(">4sBBIQ")
MAGIC, VERSION = b"FGPF", 1
MAX_FRAME = (1 << 31) - 1  # bytes; a longer message ends the connection unread


class Kind(enum.IntEnum):
    """What a frame is; requests below 64, replies above."""

    HELLO = 1
    PIN = 2
    BEGIN = 3
    PART = 4
    REVEAL = 5
    ABORT = 6
    CLOSE = 7
    OK = 64
    WORDS = 65
    REFUSED = 66
    WINNERS = 67


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_WITH_BODY = (Kind.PART, Kind.WORDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One message.

    Attributes:
        kind: What it is.
        header: Plain JSON values.
        body: Raw bytes, empty but for ``part`` and ``words``; a view of the message, not a copy.
    """

    kind: Kind
    header: Mapping[str, Any]
    body: bytes | memoryview = b""

    def fields(self, **types: type) -> tuple[Any, ...]:
        """Return the header's values in the order of ``types``, each of exactly that type.

        Raises:
            WireError: a key is missing, unknown or holds another type.
        """
        if sorted(self.header) != sorted(types):
            raise WireError(f"{self.kind.name} header: expected keys {sorted(types)}, got {len(self.header)} others")
        for name, kind in types.items():
            if type(self.header[name]) is not kind:  # bool is an int, and must not pass for one
                raise WireError(f"{self.kind.name} header: {name} must be {kind.__name__}")
        return tuple(self.header[name] for name in types)


def encode(frame: Frame) -> bytes:
    """Return the bytes of ``frame``.

    Raises:
        SpecError: the frame is longer than ``MAX_FRAME``, or a kind without body has one.
    """
    return b"".join([_front(frame), frame.body])


def decode(blob: bytes | memoryview) -> Frame:
    """Return the frame that ``blob`` holds; only bytes that :func:`encode` can give are accepted.

    Its body is a view of ``blob``.

    Raises:
        WireError: anything else.
    """
    if len(blob) < HEAD.size:
        raise WireError(f"{len(blob)} bytes, a frame's head needs {HEAD.size}")
    magic, version, kind, header_size, body_size = HEAD.unpack_from(blob)
    if (magic, version) != (MAGIC, VERSION):
        raise WireError(f"magic/version {magic!r}/{version}, expected {MAGIC!r}/{VERSION}")
    if kind not in Kind.__members__.values():
        raise WireError(f"kind {kind} is unknown")
    if len(blob) != HEAD.size + header_size + body_size:
        raise WireError(f"{len(blob)} bytes, expected {HEAD.size + header_size + body_size}")
    if body_size and kind not in _WITH_BODY:
        raise WireError(f"{Kind(kind).name} has no body")
    header = _parse(bytes(blob[HEAD.size : HEAD.size + header_size]))
    return Frame(kind=Kind(kind), header=header, body=memoryview(blob)[HEAD.size + header_size :])


class Room:
    """Memory that one message after another is read into; it grows to the largest."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = np.empty(0, np.uint8)

    def of(self, size: int) -> memoryview:
        """Return its first ``size`` bytes, which hold anything."""
        if self._held.size < size:
            del self._held
            self._held = np.empty(size, np.uint8)  # untouched: a length that is announced costs nothing yet
        return self._held[:size].data


def send(link: Connection, frame: Frame) -> None:
    """Write ``frame``. Its body goes to the kernel as it is, uncopied.

    Raises:
        SpecError: as :func:`encode`.
        OSError: the other end is gone, or took nothing for as long as the socket waits (BlockingIOError).
    """
    front = _front(frame)
    rest = [memoryview(LENGTH.pack(len(front) + len(frame.body)) + front), memoryview(frame.body)]
    with _Line(link) as line:
        while rest:
            done = line.sendmsg(rest)
            while rest and done >= len(rest[0]):
                done -= len(rest.pop(0))
            if rest:
                rest[0] = rest[0][done:]


def receive(link: Connection, room: Room | None = None) -> memoryview:
    """Read one message; :func:`decode` is left to the caller, who answers for its errors.

    Args:
        link: Where from.
        room: Where to; new memory if None.

    Returns:
        A view of the room: the next message read into it overwrites this one.

    Raises:
        EOFError, OSError: the other end is gone, or announced more than ``MAX_FRAME``.
        BlockingIOError: it sent nothing for as long as the socket waits.
    """
    with _Line(link) as line:
        prefix = memoryview(bytearray(LENGTH.size))
        _fill(line, prefix)
        (size,) = LENGTH.unpack(prefix)
        if size > MAX_FRAME:
            raise OSError(f"a message of {size} bytes, at most {MAX_FRAME} are read")
        message = (room or Room()).of(size)
        _fill(line, message)
    return message


def ready(link: Connection, seconds: float) -> bool:
    """Whether there is something to read, or an end, within ``seconds``; ``Connection.poll`` would make a selector."""
    poll = select.poll()
    poll.register(link.fileno(), select.POLLIN)
    return bool(poll.poll(seconds * 1e3))


def _fill(line: socket.socket, view: memoryview) -> None:
    while view:
        # All at once: a call for every piece would wait for the interpreter's lock each time.
        done = line.recv_into(view, flags=socket.MSG_WAITALL)
        if not done:
            raise EOFError
        view = view[done:]


class _Line:  # contextlib's manager would cost more than the system calls that this saves
    """The connection's own socket for a moment: leaving it keeps the connection open.

    A copy of its number and the questions about it that a socket asks would be six system calls a message.
    """

    __slots__ = ("_socket",)

    def __init__(self, link: Connection) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, link.fileno())

    def __enter__(self) -> socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()


def _front(frame: Frame) -> bytes:
    """Return what comes before the body."""
    header = _canonical(frame.header)
    size = HEAD.size + len(header) + len(frame.body)
    require(size <= MAX_FRAME, f"a frame of at most {MAX_FRAME} bytes", size=size)
    require(not frame.body or frame.kind in _WITH_BODY, "a body only in PART and WORDS", kind=frame.kind.name)
    return HEAD.pack(MAGIC, VERSION, frame.kind, len(header), len(frame.body)) + header


def _canonical(header: Mapping[str, Any]) -> bytes:
    return _CANONICAL.encode(dict(header)).encode()


def _parse(text: bytes) -> dict[str, Any]:
    """Parse canonical JSON: encoding it again must give the same bytes (no repeated key, no NaN)."""
    try:
        header = json.loads(text)
        same = isinstance(header, dict) and _canonical(header) == text
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise WireError("header is not a canonical JSON object")
    return dict(header)
