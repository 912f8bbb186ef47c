"""A party's part in a selection: noise kept before anything is computed, winners before they are sent.

What :class:`~fedgenome.secure.once.Once` holds of an attempt goes through two stages, each behind the query's
header, so that a party that lost everything else in a crash goes on with the same noise::

    HEAD      >I        bytes of the header; then the header, JSON
    noise     32 bytes  key of the noise; then this party's share of the scores, ring words
    winners             >u4 a winner

The second overwrites the first. After a crash parties may stand at different stages: those that know the
winners tell the others, who compute only if nobody does.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator, Sequence

import numpy as np

from fedgenome.errors import Refused, RoleError
from fedgenome.query import Array, Query, Terms, from_header
from fedgenome.secure import ring, select
from fedgenome.secure.group import Group
from fedgenome.secure.once import Once
from fedgenome.secure.select import Machine
from fedgenome.selection import Selection
from fedgenome.streams import Root, Stream

HEAD = struct.Struct(">I")
NOISE, WINNERS = "noise", "winners"  # stages, as the record's digest names them
_KEY_BYTES = 32
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
        self._keep(query, attempt, opened, NOISE, [key, total.data.cast("B")])
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
        end = HEAD.size + HEAD.unpack_from(blob)[0]
        query, rest = from_header(json.loads(blob[HEAD.size : end]), terms, None), blob[end:]
        selection = _asked(query)
        if stage == NOISE:
            key, total = rest[:_KEY_BYTES], ring.as_words(rest[_KEY_BYTES:], query.width)
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
        self._keep(query, attempt, opened, WINNERS, [np.array(winners, _INDEX).tobytes()])
        self._done.add(attempt)
        return winners

    def _keep(self, query: Query, attempt: str, opened: str, stage: str, body: Sequence[bytes | memoryview]) -> None:
        header = json.dumps(query.header(), separators=(",", ":")).encode()
        self._once.record(attempt, f"{query.digest} {opened} {stage}", [HEAD.pack(len(header)), header, *body])

    @contextlib.contextmanager
    def _machine(self) -> Iterator[Machine]:
        """Yield this party's end of the computation; a peer that fails meanwhile is a refusal that names it."""
        if self._group is None:
            raise Refused("unsupported", "a selection needs the dealer of the roster")
        try:
            yield self._group.machine()
        except RoleError as fault:
            raise Refused("group-failed", str(fault)) from None


def _asked(query: Query) -> Selection:
    if query.selection is None:
        raise Refused("unsupported", "no selection")
    return query.selection


def _run(selection: Selection, key: bytes, total: Array, machine: Machine, opened: str) -> tuple[int, ...]:
    return select.run(selection, total, select.draw_noise(selection, Stream(key)), machine, opened)
