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
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from fedgenome.closing import Closing
from fedgenome.errors import Refused, RoleError, WireError, require
from fedgenome.query import PARTIES, Array, Query, Roster, Terms
from fedgenome.secure import frames, ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.generators import ROLES
from fedgenome.secure.group import meeting
from fedgenome.secure.handles import Handle, bounded, dial, spawn, spawn_party, tell
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY, START_SECONDS, STATE, peer_socket, set_digest
from fedgenome.secure.runkeys import RunKey

REPLY_SECONDS = 30.0  # silence that counts as failure
WINDOW = 3  # parts a party may owe a reply for: one being opened, one read, one on its way
_GLANCE = 0.2  # seconds between looks at the processes while waiting
_GRACE = 1.0  # seconds that parties have to leave before they are killed
_COMPARISON_SECONDS = 1e-3  # that a comparison of a selection may take; some 50 times what it does
DEALER = "dealer"  # its folder, beside the parties' "0", "1" and "2"
_LONGEST_PATH = 100  # bytes; a Unix socket's address holds 108


class Parties(Closing):
    """The three parties; a context manager that leaves no process behind.

    Not safe for threads. One connection controls the parties at a time; another waits for its end.
    """

    def __init__(self, handles: Sequence[Handle], folder: Path | None, timeout_seconds: float) -> None:
        self._handles, self._folder, self._timeout = tuple(handles), folder, timeout_seconds
        self._dealer: Handle | None = None
        self._query: Query | None = None
        self._room = frames.Room()  # of the last reply
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
        replies = self._ask(Kind.HELLO, {}, START_SECONDS)
        told = [reply.fields(index=int, identity=str) for reply in replies]
        for handle, (index, _) in zip(self._handles, told, strict=True):
            _agree(handle, index == handle.index)
        return tuple(identity for _, identity in told)

    def pin(self, study: str, run: str, terms: Terms, roster: Roster) -> tuple[RunKey, ...]:
        """Tell the parties the study's digest, the run, its terms and roster; they keep them for life.

        Returns:
            The keys that they made for this run, in order, each vouched for by its identity.

        Raises:
            Refused: they hold others already, or are not those of the roster.
        """
        told = {"terms": _plain(terms), "roster": _plain(roster)}
        replies = self._ask(Kind.PIN, {"study": study, "run": run, **told})
        keys = []
        for handle, reply in zip(self._handles, replies, strict=True):
            digest, public, signature = reply.fields(terms=str, public=str, signature=str)
            _agree(handle, digest == terms.digest)
            keys.append(RunKey.from_json({"public": public, "signature": signature}))
        self._send_dealer(study, run, terms, roster)
        return tuple(keys)

    def begin(self, query: Query) -> None:
        """Open ``query`` at the parties, by its header; they never see the payload.

        Raises:
            Refused: a party holds other terms, study or run, has opened this attempt before, or ….
        """
        replies = self._ask(Kind.BEGIN, {"query": query.header()})
        for handle, reply in zip(self._handles, replies, strict=True):
            _agree(handle, reply.fields(query=str) == (query.digest,))
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
            replies, refused = self._settle(handle)
            refusals += refused
            for reply in replies:
                _agree(handle, reply.kind is Kind.WORDS and reply.header == told and len(reply.body) == total.nbytes)
                total += _words(reply.body, query)
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
        replies = self._race(self._timeout + START_SECONDS + _COMPARISON_SECONDS * _comparisons(query))
        self._query = None
        winners = [reply.header.get("winners") for reply in replies]
        for handle, reply in zip(self._handles, replies, strict=True):
            header = told | {"winners": winners[0]}
            _agree(handle, reply.kind is Kind.WINNERS and reply.header == header and _possible(winners[0], query))
        return np.array(winners[0], np.int64)

    def abort(self) -> None:
        """Make the parties forget the open query, whatever they still owed for it."""
        self._query = None
        for handle in self._handles:
            self._send(handle, Kind.ABORT, {})
        for handle in self._handles:
            self._settle(handle)

    def check(self) -> None:
        """Raise unless every process started here still runs; costs three system calls.

        Raises:
            RoleError: one has ended; the message names it and how.
        """
        codes = [
            (code, handle.index, handle.name)
            for handle in self._all
            if handle.process is not None and (code := handle.process.poll()) is not None
        ]
        if codes:
            # A party killed at the start takes the others with it: a signal is the cause, an exit code the effect.
            code, _, name = min(codes)
            raise RoleError(f"{name} ended ({f'signal {-code}' if code < 0 else f'exit code {code}'})")

    def hang_up(self) -> None:
        """End the connections and keep the parties, so that another process can :meth:`connect`."""
        for handle in self._handles:
            if handle.link is not None:
                handle.link.close()
            handle.link = None
            handle.owed.clear()

    def close(self) -> None:
        """End everything: hang up, close the pipes, wait a second, kill. Repeating it does nothing."""
        self.hang_up()
        processes = [handle.process for handle in self._all if handle.process is not None]
        for process in processes:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        deadline = time.monotonic() + _GRACE
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

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
        query, included = self._query, sorted(sites)
        if query is None:
            raise Refused("no-query", "begin comes before reveal")
        # Parts first: were one refused, the others must not spend the attempt.
        _raise_first(refusal for handle in self._handles for refusal in self._settle(handle)[1])
        told = {"query": query.digest, "set": set_digest(query.digest, included)}
        return query, {"query": query.digest, "sites": included}, told

    def _race(self, seconds: float) -> list[Frame]:
        """Return one reply of each party, watching all: they talk to each other, and one that fails fails all."""
        deadline = time.monotonic() + seconds
        replies: dict[int, Frame] = {}
        refusals: dict[int, Refused] = {}
        while waiting := [handle for handle in self._handles if handle.owed]:
            links = {self._link(handle): handle for handle in waiting}
            ready = wait(list(links), _GLANCE)
            for link in ready:
                handle = links[cast(Connection, link)]
                try:
                    replies[handle.index] = self._receive(handle)
                except Refused as refusal:
                    refusals[handle.index] = refusal
                    deadline = min(deadline, time.monotonic() + _GRACE)
            if not ready and time.monotonic() > deadline:
                break
            if not ready and not refusals:
                self.check()
        if failed := {i: refusal.rule for i, refusal in refusals.items() if refusal.code == "group-failed"}:
            raise self._cause(failed)
        _raise_first(refusals.values())
        for handle in waiting:
            raise self._silent(handle, seconds)
        return [replies[handle.index] for handle in self._handles]

    def _cause(self, told: Mapping[int, str]) -> RoleError:
        """Return what made the group fail: a role that a party blames and that blames nobody itself."""
        blamed = {text.partition("REVEAL: ")[2]: handle for text in told.values() for handle in self._blamed(text)}
        text, cause = min(blamed.items(), key=lambda each: each[1].index in told, default=("", None))
        if cause is not None and cause.process is not None and "closed" in text:
            with contextlib.suppress(subprocess.TimeoutExpired):
                cause.process.wait(_GRACE)
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
        replies: list[Frame] = []
        refusals: list[Refused] = []
        while handle.owed:
            try:
                replies.append(self._receive(handle, seconds))
            except Refused as refusal:
                refusals.append(refusal)
        return replies, refusals

    def _send(self, handle: Handle, kind: Kind, header: dict[str, object], body: bytes | memoryview = b"") -> None:
        link = self._link(handle)
        try:
            frames.send(link, Frame(kind=kind, header=header, body=body))
        except BlockingIOError:
            raise self._silent(handle, self._timeout) from None
        except OSError:
            raise self._lost(handle) from None
        handle.owed.append(f"{kind.name} {header.get('site', '')}".rstrip())

    def _receive(self, handle: Handle, seconds: float | None = None) -> Frame:
        """Return the next reply, watching all the processes meanwhile; its body lasts until the one after."""
        link, seconds = self._link(handle), seconds or self._timeout
        deadline = time.monotonic() + seconds
        try:
            while not frames.ready(link, _GLANCE):
                self.check()
                if time.monotonic() > deadline:
                    raise self._silent(handle, seconds)
            reply = frames.decode(frames.receive(link, self._room))
        except BlockingIOError:  # in the middle of a reply
            raise self._silent(handle, self._timeout) from None
        except (EOFError, OSError):
            raise self._lost(handle) from None
        except WireError as fault:
            raise RoleError(f"{handle.name} sent no valid frame: {fault}") from None
        asked = handle.owed.popleft()
        if reply.kind is Kind.REFUSED:
            code, rule = reply.fields(code=str, rule=str)
            if code == "internal":
                raise RoleError(f"{handle.name} failed inside at {asked}; its standard error says where")
            raise Refused(code, f"party {handle.index}, {asked}: {rule}")
        return reply

    def _link(self, handle: Handle) -> Connection:
        """Return the connection to a party, made once its socket is there."""
        deadline = time.monotonic() + START_SECONDS
        while handle.link is None:
            # Client has no timeout of its own, and a party that serves another connection does not greet:
            # a thread waits, and the party's end sets it free.
            answer: queue.SimpleQueue[Connection | None] = queue.SimpleQueue()
            threading.Thread(target=dial, args=(handle.path, handle.key, answer), daemon=True).start()
            link = self._dialled(handle, answer, deadline)
            handle.link = link and bounded(link, self._timeout)
        return handle.link

    def _dialled(
        self, handle: Handle, answer: queue.SimpleQueue[Connection | None], deadline: float
    ) -> Connection | None:
        while True:
            self.check()
            if time.monotonic() > deadline:
                raise self._silent(handle, START_SECONDS)
            with contextlib.suppress(queue.Empty):
                return answer.get(timeout=_GLANCE)

    def _lost(self, handle: Handle) -> RoleError:
        if handle.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # the socket goes just before the process
                handle.process.wait(_GRACE)
        self.check()
        return RoleError(f"{handle.name} closed its connection")

    def _silent(self, handle: Handle, seconds: float) -> RoleError:
        return RoleError(f"{handle.name} gave no answer for {seconds:g} s")


def _plain(facts: Terms | Roster) -> dict[str, object]:
    return {each.name: getattr(facts, each.name) for each in fields(facts) if each.init}


def _agree(handle: Handle, same: bool) -> None:
    if not same:
        raise RoleError(f"{handle.name} answered something else than was asked")


def _comparisons(query: Query) -> int:
    return query.question.length * query.question.reply_length


def _possible(winners: Any, query: Query) -> bool:
    """Whether these are as many different indices as were asked for."""
    plain = type(winners) is list and all(
        type(index) is int and 0 <= index < query.question.length for index in winners
    )
    return plain and len(set(winners)) == len(winners) == query.question.reply_length


def _raise_first(refusals: Iterable[Refused]) -> None:
    for refusal in list(refusals):
        raise refusal


def _words(body: bytes | memoryview, query: Query) -> Array:
    word = np.dtype(ring.dtype_of(query.width))
    return np.frombuffer(body, word.newbyteorder("<")).astype(word, copy=False)
