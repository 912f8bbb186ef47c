"""Messages between a party and whoever drives it, over a local socket: no pickle, one reply a request.

A frame is one message of ``multiprocessing.connection`` (``send_bytes``/``recv_bytes`` only; its
``send`` and ``recv`` would pickle)::

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

Both ends hold a key (HMAC challenge of ``multiprocessing.connection``); the socket lies in a folder
of mode 0700.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fedgenome.errors import WireError, require

HEAD = struct.Struct(">4sBBIQ")
MAGIC, VERSION = b"FGPF", 1
MAX_FRAME = 1 << 31  # bytes; a longer message ends the connection unread


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
    header = _canonical(frame.header)
    size = HEAD.size + len(header) + len(frame.body)
    require(size <= MAX_FRAME, f"a frame of at most {MAX_FRAME} bytes", size=size)
    require(not frame.body or frame.kind in _WITH_BODY, "a body only in PART and WORDS", kind=frame.kind.name)
    return b"".join([HEAD.pack(MAGIC, VERSION, frame.kind, len(header), len(frame.body)), header, frame.body])


def decode(blob: bytes) -> Frame:
    """Return the frame that ``blob`` holds; only bytes that :func:`encode` can give are accepted.

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
    header = _parse(blob[HEAD.size : HEAD.size + header_size])
    return Frame(kind=Kind(kind), header=header, body=memoryview(blob)[HEAD.size + header_size :])


def send(link: Connection, frame: Frame) -> None:
    """Write ``frame`` as one message."""
    link.send_bytes(encode(frame))


def receive(link: Connection) -> bytes:
    """Read one message's bytes; :func:`decode` is left to the caller, who answers for its errors.

    Raises:
        EOFError, OSError: the other end is gone, or announced more than ``MAX_FRAME``.
    """
    return link.recv_bytes(MAX_FRAME)


def _canonical(header: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(header), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


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
