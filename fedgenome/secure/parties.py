"""Start, reach and stop the three party processes, and the dealer where one is needed, from the driver's side.

Requests are pipelined: :meth:`Parties.deliver` does not wait for the parties to open what it sends,
so that they work on one site's part while the next site computes. At most ``WINDOW`` parts wait at a
party: that bounds its memory, and keeps either socket buffer from filling with both ends writing.

A party that dies or falls silent is a :class:`RoleError` that names it, raised by the next call (a
call in progress included). After that, as after Ctrl-C, :meth:`Parties.close` ends the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import ClassVar, Self, cast

import numpy as np

from fedgenome.errors import Refused, RoleError, require
from fedgenome.query import PARTIES, Array, Query, Roster, Terms
from fedgenome.secure import frames, replies, ring
from fedgenome.secure.driver import GLANCE_SECONDS, GRACE_SECONDS, Driver
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.generators import ROLES
from fedgenome.secure.group import meeting
from fedgenome.secure.handles import Handle, spawn, spawn_party, tell
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from fedgenome.secure.party_process import START_SECONDS, STATE, peer_socket
from fedgenome.secure.runkeys import RunKey

REPLY_SECONDS = 30.0  # silence that counts as failure
WINDOW = 3  # parts a party may owe a reply for: one being opened, one read, one on its way
_COMPARISON_SECONDS = 1e-3  # that a comparison of a selection may take; some 50 times what it does
DEALER = "dealer"  # its folder, beside the parties' "0", "1" and "2"
_LONGEST_PATH = 100  # bytes; a Unix socket's address holds 108


class Parties(Driver):
    """The three parties; a context manager that leaves no process behind.

    Not safe for threads. One connection controls the parties at a time; another waits for its end.

    Attributes:
        recovers: Whether a next attempt may work after a role failed.
    """

    recovers: ClassVar[bool] = False

    def __init__(self, handles: Sequence[Handle], folder: Path | None, timeout_seconds: float) -> None:
        super().__init__(handles, folder, timeout_seconds)
        self._dealer: Handle | None = None
        self._query: Query | None = None
        self._kept: tuple[Path, tuple[str, ...]] | None = None  # the folder and the identities in it
        self._met = False

    @classmethod
    def start(cls, folder: Path, seed: int | None, timeout_seconds: float = REPLY_SECONDS) -> Self:
        """Start three processes and return at once; they load while the caller does other things.

        Args:
            folder: Where a private folder (mode 0700) for the sockets is made, and removed by ``close``.
            seed: None for a real run; a number for a simulation, whose noise can be recomputed.
            timeout_seconds: Silence of a party that counts as its failure.

        Raises:
            SpecError: the folder's path is too long for a Unix socket.
        """
        private = Path(tempfile.mkdtemp(prefix="parties-", dir=folder.resolve()))  # mkdtemp makes it 0700
        parties = cls([], private, timeout_seconds)
        try:
            size = len(os.fsencode(private / "0.sock"))
            require(
                size <= _LONGEST_PATH, f"a folder whose socket paths have at most {_LONGEST_PATH} bytes", bytes=size
            )
            for index in range(PARTIES):
                parties._handles += (spawn_party(index, private, seed, timeout_seconds),)
        except BaseException:
            parties.close()
            raise
        return parties

    @classmethod
    def connect(cls, addresses: str, timeout_seconds: float = REPLY_SECONDS) -> Self:
        """Reach parties that another process started, by what its :meth:`addresses` gave."""
        pairs = enumerate(json.loads(addresses))
        return cls(
            [Handle(index=i, path=path, key=bytes.fromhex(key)) for i, (path, key) in pairs], None, timeout_seconds
        )

    def addresses(self) -> str:
        """Return one line of text for :meth:`connect`. It holds keys: pass it by environment, never print it."""
        return json.dumps([[handle.path, handle.key.hex()] for handle in self._handles])

    def keep(self, folder: Path, *, dealer: bool = False) -> tuple[str, ...]:
        """Name the folder where the parties started here keep their identities and what they opened.

        Identities that are not there yet are made. Without this, :meth:`ready` names a folder that
        ends with the processes.

        Args:
            dealer: Start a dealer too: selections need one.

        Returns:
            The parties' public identities, in order, and the dealer's.

        Raises:
            SpecError: the parties keep another folder already, or an identity file is none.
        """
        folder = folder.resolve()
        if self._kept is not None:
            same = self._kept[0] == folder and dealer == (self._dealer is not None)
            require(same, "the parties' folder, and a dealer or none, to stay the same for life")
            return self._kept[1]
        states = [folder / str(handle.index) for handle in self._handles]
        files = [state / IDENTITY for state in [*states, *[folder / DEALER] * dealer]]
        identities = tuple(Identity.kept(file).public for file in files)
        # Only now: a folder that is refused must leave nothing behind that a second call would start again.
        if dealer:
            self._dealer = spawn(PARTIES, "fedgenome.secure.dealer")
        for handle, state in zip(self._handles, states, strict=True):
            tell(handle, str(state))
        self._kept = folder, identities
        return identities

    def ready(self) -> tuple[str, ...]:
        """Wait until every party is up and return their public identities, in order."""
        if self._folder is not None and self._kept is None:
            self.keep(self._folder / STATE)
        told = [reply.fields(index=int, identity=str) for reply in self._ask(Kind.HELLO, {}, START_SECONDS)]
        for handle, (index, _) in zip(self._handles, told, strict=True):
            replies.agree(handle.name, index == handle.index)
        return tuple(identity for _, identity in told)

    def pin(self, study: str, run: str, terms: Terms, roster: Roster) -> tuple[RunKey, ...]:
        """Tell the parties the study's digest, the run, its terms and roster; they keep them for life.

        Returns:
            The keys that they made for this run, in order, each vouched for by its identity.

        Raises:
            Refused: they hold others already, or are not those of the roster.
        """
        told = self._ask(Kind.PIN, replies.pinning(study, run, terms, roster))
        keys = tuple(
            replies.run_key(handle.name, reply, terms) for handle, reply in zip(self._handles, told, strict=True)
        )
        self._send_dealer(study, run, terms, roster)
        return keys

    def begin(self, query: Query) -> None:
        """Open ``query`` at the parties, by its header; they never see the payload.

        Raises:
            Refused: a party holds other terms, study or run, has opened this attempt before, or ….
        """
        for handle, reply in zip(self._handles, self._ask(Kind.BEGIN, {"query": query.header()}), strict=True):
            replies.check_begun(handle.name, reply, query)
        self._query = query.blind()

    def deliver(self, site: str, parts: Sequence[bytes | memoryview], stamp: bytes | memoryview) -> None:
        """Send a site's sealed parts, one to each party, and its stamp to all, without waiting for them to be opened.

        Raises:
            Refused: a party refused this part or an earlier one. The parties may now hold different
                sets: :meth:`abort`.
        """
        self.check()
        for handle, part in zip(self._handles, parts, strict=True):
            while len(handle.owed) >= WINDOW or (handle.owed and frames.ready(self._link(handle), 0)):
                self._receive(handle)
            self._send(handle, Kind.PART, {"site": site, "stamp": stamp.hex()}, part)

    def reveal(self, sites: Sequence[str]) -> Array:
        """Open the sum of ``sites``, which must be all that were delivered; the attempt is then spent.

        Returns:
            The three parties' result shares added in the ring, uint32 or uint64 (length,): the noisy sum.

        Raises:
            Refused: a party holds another set, fewer sites than the quorum, or refused an earlier part.
        """
        query, asked, told = self._closing(sites)
        # Shares of different sets would add up to noise: every one says which set it is of.
        total, refusals = np.zeros(query.question.length, ring.dtype_of(query.width)), list[Refused]()
        for handle in self._handles:
            self._send(handle, Kind.REVEAL, asked)
        for handle in self._handles:
            settled, refused = self._settle(handle)
            refusals += refused
            for reply in settled:
                replies.add_words(handle.name, reply, told, query, total)
        _raise_first(refusals)
        self._query = None
        return total

    def select(self, sites: Sequence[str]) -> Array:
        """Open the winners among the scores of ``sites``, all that were delivered; the attempt is then spent.

        Returns:
            Indices of the largest noised scores, largest first, int64 (k,).

        Raises:
            Refused: a party holds another set, fewer sites than the quorum, or refused an earlier part.
            RoleError: a party or the dealer failed; all of them have to be started anew.
        """
        query, asked, told = self._closing(sites)
        for handle in self._handles:
            self._send(handle, Kind.REVEAL, asked)
        answers = self._race(self._timeout + START_SECONDS + _COMPARISON_SECONDS * _comparisons(query))
        self._query = None
        return replies.winners({h.name: reply for h, reply in zip(self._handles, answers, strict=True)}, told, query)

    def abort(self) -> None:
        """Make the parties forget the open query, whatever they still owed for it."""
        self._query = None
        for handle in self._handles:
            self._send(handle, Kind.ABORT, {})
        for handle in self._handles:
            self._settle(handle)

    @property
    def _all(self) -> tuple[Handle, ...]:
        return (*self._handles, *filter(None, [self._dealer]))

    # ── opening ──────────────────────────────────────────────────────────────────────────────────

    def _send_dealer(self, study: str, run: str, terms: Terms, roster: Roster) -> None:
        """Tell the dealer whom to meet, once; the parties know it from the roster."""
        if self._dealer is None or self._kept is None or self._folder is None or self._met:
            return
        addresses = [peer_socket(str(self._folder), handle.index) for handle in self._handles]
        where = meeting(study, run, terms, (*roster.parties, roster.dealer), addresses)
        identity = str(self._kept[0] / DEALER / IDENTITY)
        tell(self._dealer, {"meeting": asdict(where), "identity": identity, "timeout_seconds": self._timeout})
        self._met = True

    def _closing(self, sites: Sequence[str]) -> tuple[Query, dict[str, object], dict[str, str]]:
        """Return the open query, what to ask for its end, and what every answer must say."""
        if self._query is None:
            raise Refused("no-query", "begin comes before reveal")
        # Parts first: were one refused, the others must not spend the attempt.
        _raise_first(refusal for handle in self._handles for refusal in self._settle(handle)[1])
        return self._query, *replies.closing(self._query, sites)

    def _race(self, seconds: float) -> list[Frame]:
        """Return one reply of each party, watching all: they talk to each other, and one that fails fails all."""
        deadline = time.monotonic() + seconds
        answers: dict[int, Frame] = {}
        refusals: dict[int, Refused] = {}
        while waiting := [handle for handle in self._handles if handle.owed]:
            links = {self._link(handle): handle for handle in waiting}
            ready = wait(list(links), GLANCE_SECONDS)
            for link in ready:
                handle = links[cast(Connection, link)]
                try:
                    answers[handle.index] = self._receive(handle)
                except Refused as refusal:
                    refusals[handle.index] = refusal
                    deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
            if not ready and time.monotonic() > deadline:
                break
            if not ready and not refusals:
                self.check()
        if failed := {i: refusal.rule for i, refusal in refusals.items() if refusal.code == "group-failed"}:
            raise self._cause(failed)
        _raise_first(refusals.values())
        for handle in waiting:
            raise self._silent(handle, seconds)
        return [answers[handle.index] for handle in self._handles]

    def _cause(self, told: Mapping[int, str]) -> RoleError:
        """Return what made the group fail: a role that a party blames and that blames nobody itself."""
        blamed = {text.partition("REVEAL: ")[2]: handle for text in told.values() for handle in self._blamed(text)}
        text, cause = min(blamed.items(), key=lambda each: each[1].index in told, default=("", None))
        if cause is not None and cause.process is not None and "closed" in text:
            with contextlib.suppress(subprocess.TimeoutExpired):
                cause.process.wait(GRACE_SECONDS)
            if (code := cause.process.poll()) is not None and code < 0:
                return RoleError(f"{cause.name} ended (signal {-code})")
        return RoleError(f"selection failed: {text or min(told.items())[1]}")

    def _blamed(self, text: str) -> list[Handle]:
        """Return whom a party's refusal names as the one that failed."""
        first = text.partition("REVEAL: ")[2].split(" ")[0].rstrip(",")
        return [handle for handle in self._all if ROLES[handle.index] == first]

    # ── one party ────────────────────────────────────────────────────────────────────────────────

    def _ask(self, kind: Kind, header: dict[str, object], seconds: float | None = None) -> list[Frame]:
        """Send all three the same request, then return their replies; the first refusal is raised."""
        for handle in self._handles:
            self._send(handle, kind, header)
        settled = [self._settle(handle, seconds) for handle in self._handles]
        _raise_first(refusal for _, refusals in settled for refusal in refusals)
        return [replies[-1] for replies, _ in settled]

    def _settle(self, handle: Handle, seconds: float | None = None) -> tuple[list[Frame], list[Refused]]:
        """Read every reply still owed."""
        settled: list[Frame] = []
        refusals: list[Refused] = []
        while handle.owed:
            try:
                settled.append(self._receive(handle, seconds))
            except Refused as refusal:
                refusals.append(refusal)
        return settled, refusals

    def _receive(self, handle: Handle, seconds: float | None = None) -> Frame:
        """Return the next reply; a refusal is raised."""
        asked = handle.owed[0]
        return replies.accepted(handle.index, asked, self._heard(handle, seconds))


def _comparisons(query: Query) -> int:
    return query.question.length * query.question.reply_length


def _raise_first(refusals: Iterable[Refused]) -> None:
    for refusal in list(refusals):
        raise refusal
