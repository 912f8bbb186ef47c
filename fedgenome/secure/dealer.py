"""The dealer: makes the correlated randomness of secure comparisons, and sees nothing else (DESIGN §5).

It takes the place of CrypTen's TTP, which speaks pickle and seeds torch's generators. With each party it
shares a stream. Shares of a tuple are what the streams give; only the part that makes the tuple right
is sent, to party 0::

    function   shared by the parties                    party 0 is sent
    PRODUCT 1  random a, b, and c with c = a·b          its share of c
    AND     2  random a, b, and c with c = a AND b      its share of c (shares are added by XOR)
    BIT     3  a random bit, by XOR, and r, the same    its share of r
               bit, by addition

    REQUEST    >BQ   function | how many

All shares are words of Z_2^64 or of 64 bits. The dealer learns how many comparisons are made. With any one
party it could undo every mask: it is an operator of its own, who colludes with nobody.

``python -m fedgenome.secure.dealer`` reads one line of JSON from stdin (:class:`Config`) and serves one
session; it ends when party 0 leaves or when stdin closes.
"""

from __future__ import annotations

import enum
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fedgenome.errors import WireError, require
from fedgenome.query import PARTIES
from fedgenome.secure import process
from fedgenome.secure.generators import DEALER, Meeting
from fedgenome.secure.identity import Identity
from fedgenome.secure.joining import SILENT_SECONDS, join
from fedgenome.secure.links import Kind, Links
from fedgenome.streams import Stream

Words = npt.NDArray[np.uint64]

REQUEST = struct.Struct(">BQ")
MOST = 1 << 26  # tuples a request may ask for: 512 MiB
PURPOSE = "tuples"
_BLOCK = 1 << 14  # tuples at a time: a dozen buffers stay in cache


class Function(enum.IntEnum):
    """What tuples are for."""

    PRODUCT = 1
    AND = 2
    BIT = 3


class Tuples:
    """A party's end: its shares of tuples.

    Args:
        links: This party's connections.
    """

    def __init__(self, links: Links) -> None:
        self._links, self._stream = links, Stream(links.key(DEALER, PURPOSE))

    def draw(self, function: Function, n: int) -> tuple[Words, ...]:
        """Return shares of ``n`` tuples: (a, b, c), or (bit, r) of a BIT.

        At party 0 the last one is on its way, and there after the next ``links.flush()``: the dealer
        works while the parties open what they masked with the others.
        """
        require(0 < n <= MOST, f"1 to {MOST} tuples", n=n)
        corrected = self._links.rank == 0
        shares = tuple(np.empty(n, np.uint64) for _ in range(2 if function is Function.BIT else 3))
        if corrected:
            self._links.expect(DEALER, Kind.TUPLE, shares[-1].data.cast("B"))
            self._links.send(DEALER, Kind.REQUEST, memoryview(REQUEST.pack(function, n)))
        for start in range(0, n, _BLOCK):
            for share in shares[:-1] if corrected else shares:
                self._stream.fill(share[start : start + _BLOCK])
        if function is Function.BIT:
            shares[0][:] &= np.uint64(1)
        return shares


class Dealer:
    """The other end: what party 0 still needs.

    Args:
        streams: Shared with each party, by rank.
    """

    def __init__(self, streams: Sequence[Stream]) -> None:
        require(len(streams) == PARTIES, f"{PARTIES} streams", streams=len(streams))
        self._streams = tuple(streams)

    def complete(self, function: Function, n: int) -> Words:
        """Return party 0's share of the last component of ``n`` tuples, uint64 (n,)."""
        out = np.empty(n, np.uint64)
        for start in range(0, n, _BLOCK):
            self._complete(function, out[start : start + _BLOCK])
        return out

    def _complete(self, function: Function, out: Words) -> None:
        add = np.add if function is Function.PRODUCT else np.bitwise_xor
        first = self._opened(add, out.size)
        if function is Function.PRODUCT:
            np.multiply(first, self._opened(add, out.size), out=out)
        elif function is Function.AND:
            np.bitwise_and(first, self._opened(add, out.size), out=out)
        else:
            np.bitwise_and(first, np.uint64(1), out=out)
        remove = np.bitwise_xor if function is Function.AND else np.subtract
        for stream in self._streams[1:]:
            remove(out, stream.words(out.size), out=out)

    def _opened(self, add: np.ufunc, n: int) -> Words:
        """Return what the three parties' next shares add up to."""
        total = self._streams[0].words(n)
        for stream in self._streams[1:]:
            add(total, stream.words(n), out=total)
        return total


def serve(links: Links) -> None:
    """Answer party 0's requests until it leaves.

    Raises:
        WireError: a request names no function, or too many tuples.
        RoleError: party 0 is silent or gone in the midst of an answer.
    """
    dealer = Dealer([Stream(links.key(rank, PURPOSE)) for rank in range(PARTIES)])
    request = bytearray(REQUEST.size)
    while links.listen(0, Kind.REQUEST, memoryview(request)):
        links.send(0, Kind.TUPLE, dealer.complete(*_parse(request)).data.cast("B"))
        links.flush()


def _parse(request: bytearray) -> tuple[Function, int]:
    function, n = REQUEST.unpack(request)
    if function not in Function.__members__.values() or not 0 < n <= MOST:
        raise WireError(f"request: expected a function 1 to 3 and 1 to {MOST} tuples, got {function} and {n}")
    return Function(function), n


# ── the process ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the dealer's operator, or the driver of a local run, writes on the first line of stdin, as JSON.

    Attributes:
        meeting: The fields of :class:`Meeting`.
        identity: File of the dealer's private key (:class:`~fedgenome.secure.identity.Identity`).
        timeout_seconds: Silence of a party, in the midst of a message, that counts as its failure.
    """

    meeting: dict[str, Any]
    identity: str
    timeout_seconds: float = SILENT_SECONDS


def main() -> None:
    """Serve one session."""
    config = Config(**process.configured("dealer"))
    process.end_with_driver(lambda: None)
    identity = Identity.load(Path(config.identity)).key
    with join(Meeting(**config.meeting), DEALER, identity, config.timeout_seconds) as links:
        serve(links)
    os._exit(0)


if __name__ == "__main__":
    main()
