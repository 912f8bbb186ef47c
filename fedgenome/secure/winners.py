"""A party's part in a selection: noise kept before anything is computed, winners before they are sent.

What :class:`~fedgenome.secure.once.Once` holds of an attempt goes through two stages, each behind the query's
header, so that a party that lost everything else in a crash goes on with the same noise::

    HEAD      >32sI     a key, or zeros | bytes of the header; then the header, JSON
    noise               this party's share of the scores, ring words, masked by a stream of the key
    winners             >u4 a winner

Noise and mask are streams of the key, which the second stage overwrites: what the disk may still hold of the
share is then worth nothing. After a crash parties may stand at different stages: those that know the
winners tell the others, who compute only if nobody does.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fedgenome.errors import Refused, RoleError
from fedgenome.query import Array, Query, Terms, from_header
from fedgenome.secure import ring, select
from fedgenome.secure.group import Group
from fedgenome.secure.once import Once
from fedgenome.secure.select import Machine
from fedgenome.selection import Selection
from fedgenome.streams import Root

HEAD = struct.Struct(">32sI")
NOISE, WINNERS = "noise", "winners"  # stages, as the record's digest names them
_INDEX = np.dtype(">u4")


class Chooser:
    """Finds winners with the other parties, once for each attempt.

    Args:
        root: Source of this party's noise.
        once: Its memory.
        group: Its peers; None where it has none, and refuses selections.
    """

    def __init__(self, root: Root, once: Once, group: Group | None) -> None:
        self._root, self._once, self._group = root, once, group
        self._done: set[str] = set()  # attempts whose winners all found in this life

    def choose(self, query: Query, attempt: str, opened: str, total: Array) -> tuple[int, ...]:
        """Return the winners of the scores that the parties hold shares of, as all three do.

        Args:
            attempt: What may be answered once.
            opened: Digest of the included set.
            total: This party's share of the summed scores, ring words (length,).

        Raises:
            Refused: ``other-set``: another party was told another set, and nothing was computed.
                ``group-failed``: a peer failed; this process can select no more.
        """
        selection = _asked(query)
        # Engines agree on (method, step, attempt), not on run ids: a seeded run must not depend on those.
        when = (query.method, query.step, query.attempt) if self._root.seeded else (query.digest,)
        key = self._root.derive("select", *when)
        # On the disk before anybody sees anything that depends on it: the noise of an attempt is drawn once.
        self._keep(query, attempt, f"{opened} {NOISE}", key, _masked(key, total).data.cast("B"))
        with self._machine() as machine:
            found = _run(selection, key, total, machine, opened)
        return self._found(query, attempt, opened, found)

    def repeat(self, attempt: str, stage: str, opened: str, terms: Terms) -> tuple[int, ...]:
        """Return the winners of the attempt answered last, with the noise that was kept.

        In the life in which they were found they are read back. In a later one all parties must be asked.

        Raises:
            Refused: as :meth:`choose`; ``opened-before``: what was kept is damaged, and stays spent.
        """
        blob = self._once.body(attempt)
        if blob is None:
            raise Refused("opened-before", "the answer was lost in a crash; its attempt stays spent")
        key, header, rest = unpack(blob)
        query = from_header(header, terms, None)
        selection = _asked(query)
        if stage == NOISE:
            total = unmasked(key, rest, query.width)
            with self._machine() as machine:
                found = _run(selection, key, total, machine, opened)
            return self._found(query, attempt, opened, found)
        found = tuple(np.frombuffer(rest, _INDEX).tolist())
        if attempt not in self._done:
            with self._machine() as machine:
                select.recall(selection, found, query.width, machine, opened)
            self._done.add(attempt)
        return found

    def _found(self, query: Query, attempt: str, opened: str, winners: tuple[int, ...]) -> tuple[int, ...]:
        self._keep(query, attempt, f"{opened} {WINNERS}", bytes(32), np.array(winners, _INDEX).tobytes())
        self._done.add(attempt)
        return winners

    def _keep(self, query: Query, attempt: str, stage: str, key: bytes, rest: bytes | memoryview) -> None:
        header = json.dumps(query.header(), separators=(",", ":")).encode()
        self._once.record(attempt, f"{query.digest} {stage}", [HEAD.pack(key, len(header)), header, rest])

    @contextlib.contextmanager
    def _machine(self) -> Iterator[Machine]:
        """Yield this party's end of the computation; a peer that fails meanwhile is a refusal that names it."""
        if self._group is None:
            raise Refused("unsupported", "a selection needs the dealer of the roster")
        try:
            yield self._group.machine()
        except RoleError as fault:
            raise Refused("group-failed", str(fault)) from None


def unpack(blob: bytes) -> tuple[bytes, dict[str, Any], bytes]:
    """Return key, query's header and the rest of what is kept."""
    key, size = HEAD.unpack_from(blob)
    end = HEAD.size + size
    return key, json.loads(blob[HEAD.size : end]), blob[end:]


def unmasked(key: bytes, rest: bytes, width: int) -> Array:
    """Return the share that is kept, uint32 or uint64 (length,)."""
    masked: Array = ring.as_words(rest, width)
    return masked - _mask(key, masked.size, width)


def noise_of(selection: Selection, key: bytes) -> npt.NDArray[np.int64]:
    """Return the noise that a key stands for, int64 (winners, scores)."""
    return select.draw_noise(selection, Root(key, seeded=False).stream("noise"))


def _masked(key: bytes, total: Array) -> Array:
    masked: Array = total + _mask(key, total.size, total.itemsize * 8)
    return masked


def _mask(key: bytes, n: int, width: int) -> Array:
    mask: Array = np.empty(n, ring.dtype_of(width))
    Root(key, seeded=False).stream("mask").fill(mask)
    return mask


def _asked(query: Query) -> Selection:
    if query.selection is None:
        raise Refused("unsupported", "no selection")
    return query.selection


def _run(selection: Selection, key: bytes, total: Array, machine: Machine, opened: str) -> tuple[int, ...]:
    return select.run(selection, total, noise_of(selection, key), machine, opened)
