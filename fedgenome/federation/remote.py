"""The three parties, and the dealer where one is needed, on machines of their own: reached by Flower messages.

A message costs seconds whatever its size, so they are few and fat. ``begin`` and ``deliver`` only queue:
``reveal`` and ``select`` send each party one message of ABORT, BEGIN, every PART and REVEAL. Parts leave earlier,
in a message of their own, once more than ``MOST_WAITING`` bytes wait at a party: that bounds the coordinator's
memory. A message that is delivered twice does no harm: a party opens an attempt once, and repeats the stored
bytes to the same set. So a role that is silent when a set is opened, and there when it is greeted, is asked once more:
if its reply alone was lost, no attempt is spent.

Whatever goes wrong, :meth:`RemoteParties.abort` and then ``ready`` and ``pin`` make the next attempt possible: where
a role failed, all of them are closed and start their processes afresh, since a group that lost one is of no use.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np

from fedgenome.closing import Closing
from fedgenome.errors import Refused, RoleError, WireError
from fedgenome.federation.wire import Call
from fedgenome.query import PARTIES, Array, Query, Roster, Terms
from fedgenome.secure import frames, replies, ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.generators import DEALER, ROLES
from fedgenome.secure.runkeys import RunKey
from fedgenome.study import Plan, Study

MOST_WAITING = 64 << 20  # bytes of parts for one party
_PARTIES = ROLES[:PARTIES]
_FAILURES = {"unreachable", "role-failed", "not-joined", "internal"}  # a role failed; other codes say that it declines


class Carrier(Protocol):
    """Messages by the names of roles: :class:`fedgenome.federation.post.Post`."""

    def discover(self, wanted: Collection[str], least: int) -> dict[str, Call]:
        """Find the nodes of ``wanted``; return each one's answer to its greeting."""

    def ask(self, kind: str, calls: Mapping[str, Call]) -> Iterator[tuple[str, Call]]:
        """Send each name its call; yield (name, answer) as they come, refusals included."""


class RemoteParties(Closing):
    """What a coordinator asks of the parties, as :class:`~fedgenome.secure.parties.Parties`. Not safe for threads.

    Leaving its ``with`` block closes the run at all of them: their keys of the run are erased.

    Args:
        post: Carries the messages.
        study: What the run's sites and roles agreed to.
        plan: Its priced plan; one with selections needs the dealer.
        run: The run's id.
        signatures: Who signed the Study, as records of ``signer`` and ``signature``; every role looks for its own.
        most_waiting: Bytes of parts that may wait for one party.

    Attributes:
        recovers: Whether a next attempt may work after a role failed.
    """

    recovers: ClassVar[bool] = True

    def __init__(
        self,
        post: Carrier,
        study: Study,
        plan: Plan,
        run: str,
        signatures: Sequence[Mapping[str, str]] = (),
        most_waiting: int = MOST_WAITING,
    ) -> None:
        told = {"study": study.model_dump(mode="json", by_alias=True), "plan": plan.model_dump(mode="json")}
        self._joining = Call(header={**told, "run": run, "signatures": [dict(one) for one in signatures]})
        self._post, self._run, self._most = post, run, most_waiting
        self._roles = ROLES if plan.selects else _PARTIES
        self._query: Query | None = None
        self._waiting: tuple[list[Frame], ...] = ()
        self._joined = self._broken = False

    def ready(self) -> tuple[str, ...]:
        """Find every role and return the parties' public identities, in order.

        Raises:
            RoleError: one of them is not there.
        """
        found = self._post.discover(self._roles, len(self._roles))
        told = [found[role].header.get("identity") for role in _PARTIES]
        for index, identity in enumerate(told):
            replies.agree(_name(index), isinstance(identity, str))
        return tuple(map(str, told))

    def pin(self, study: str, run: str, terms: Terms, roster: Roster) -> tuple[RunKey, ...]:
        """Have every role join the run, and tell the parties the study's digest, the run, its terms and roster.

        Returns:
            The keys that they made for this run, in order, each vouched for by its identity.

        Raises:
            Refused: a role declines: the Study is not signed by one it trusts, names another in its place, ….
            RoleError: a role is not there or failed.
        """
        header = replies.pinning(study, run, terms, roster)
        asked = [Frame(kind=Kind.HELLO, header={}), Frame(kind=Kind.PIN, header=header)]
        keys = []
        with self._noting():
            self._join()
            for index, answers in enumerate(self._exchange([asked] * PARTIES)):
                self._accept(index, asked, answers)
                replies.agree(_name(index), answers[0].header.get("index") == index)
                keys.append(replies.run_key(_name(index), answers[1], terms))
        return tuple(keys)

    def begin(self, query: Query) -> None:
        """Open ``query`` with the next message; whatever was open before is forgotten."""
        self._query = query.blind()
        # The parties' last driver may have left a query open.
        opening = [Frame(kind=Kind.ABORT, header={}), Frame(kind=Kind.BEGIN, header={"query": query.header()})]
        self._waiting = tuple(list(opening) for _ in range(PARTIES))

    def deliver(self, site: str, parts: Sequence[bytes | memoryview], stamp: bytes | memoryview) -> None:
        """Queue a site's sealed parts, one for each party, and its stamp for all; send what waits if it is much.

        Raises:
            Refused: a party refused what waited, or no query is open.
            RoleError: a party is not there or failed.
        """
        if self._query is None:
            raise Refused("no-query", "begin comes before deliver")
        for waiting, part in zip(self._waiting, parts, strict=True):
            waiting.append(Frame(kind=Kind.PART, header={"site": site, "stamp": stamp.hex()}, body=part))
        if max(sum(len(frame.body) for frame in waiting) for waiting in self._waiting) > self._most:
            with self._noting():
                self._flush()

    def reveal(self, sites: Sequence[str]) -> Array:
        """Open the sum of ``sites``, which must be all that were delivered; the attempt is then spent.

        Returns:
            The three parties' result shares added in the ring, uint32 or uint64 (length,): the noisy sum.

        Raises:
            Refused: a party declined the query, a part, or the set.
            RoleError: a party is not there or failed, or answered something else.
        """
        with self._noting():
            query, told, answers = self._end(sites)
            total = np.zeros(query.question.length, ring.dtype_of(query.width))
            for index, answer in enumerate(answers):
                replies.add_words(_name(index), answer, told, query, total)
        return total

    def select(self, sites: Sequence[str]) -> Array:
        """Open the winners among the scores of ``sites``, all that were delivered; the attempt is then spent.

        Returns:
            Indices of the largest noised scores, largest first, int64 (k,).

        Raises:
            Refused: a party declined the query, a part, or the set.
            RoleError: a party or the dealer failed.
        """
        with self._noting():
            query, told, answers = self._end(sites)
            return replies.winners({_name(index): answer for index, answer in enumerate(answers)}, told, query)

    def abort(self) -> None:
        """Forget the open query; where a role failed, have all of them end their processes."""
        self._query, self._waiting = None, ()
        if self._broken:
            self.close()

    def close(self) -> None:
        """End the run at every role that can be reached: what was sealed for it opens for nobody any more."""
        joined, self._joined, self._broken = self._joined, False, False
        if joined:
            call = Call(header={"run": self._run})
            with contextlib.suppress(RoleError):  # a run that ends does not fail because of it
                list(self._post.ask("close", dict.fromkeys(self._roles, call)))

    # ── messages ─────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """Note that a role failed: what its answer was like, or that there was none."""
        try:
            yield
        except RoleError:
            self._broken = True
            raise
        except WireError as fault:
            self._broken = True
            raise RoleError(f"a party sent no valid frames: {fault}") from None

    def _join(self) -> None:
        """Have every role start its process for this run, unless it runs already."""
        for last in (False, True):
            self._joined = True
            answers = self._ask("join", dict.fromkeys(self._roles, self._joining))
            fresh = {answer.header.get("fresh") for answer in answers.values()}
            if last or len(self._roles) == PARTIES or len(fresh) == 1:
                return
            self.close()  # of a group that met already, none meets a newcomer

    def _end(self, sites: Sequence[str]) -> tuple[Query, dict[str, str], list[Frame]]:
        """Ask for the open query's end; return it, what every answer must say, and the answers."""
        if self._query is None:
            raise Refused("no-query", "begin comes before reveal")
        query = self._query
        asked, told = replies.closing(query, sites)
        for waiting in self._waiting:
            waiting.append(Frame(kind=Kind.REVEAL, header=asked))
        sent, heard = self._waiting, self._sent(again=True)
        self._query = None
        for index, (requests, answers) in enumerate(zip(sent, heard, strict=True)):
            # A message that came twice is refused where it begins, and answered with the stored bytes.
            if answers[-1].kind is Kind.REFUSED:
                self._accept(index, requests, answers)
        return query, told, [answers[-1] for answers in heard]

    def _flush(self) -> None:
        """Send what waits."""
        sent, heard = self._waiting, self._sent()
        for index, (requests, answers) in enumerate(zip(sent, heard, strict=True)):
            self._accept(index, requests, answers)

    def _sent(self, again: bool = False) -> list[list[Frame]]:
        waiting, self._waiting = self._waiting, tuple([] for _ in range(PARTIES))
        return self._exchange(waiting, again)

    def _accept(self, index: int, requests: Sequence[Frame], answers: Sequence[Frame]) -> None:
        """Raise a party's first refusal; check what it began."""
        for request, answer in zip(requests, answers, strict=True):
            try:
                replies.accepted(index, _asked(request), answer)
            except Refused as fault:
                if fault.code == "group-failed":
                    raise RoleError(f"selection failed: {fault.rule}") from None
                raise
            if request.kind is Kind.BEGIN and self._query is not None:
                replies.check_begun(_name(index), answer, self._query)

    def _exchange(self, requests: Sequence[Sequence[Frame]], again: bool = False) -> list[list[Frame]]:
        """Send each party its frames in one message; return each one's replies, one a frame.

        Args:
            again: Whether whoever is silent may be asked twice: its last frame is answered alike each time.
        """
        calls = {role: _packed(asked) for role, asked in zip(_PARTIES, requests, strict=True)}
        answers = self._ask("frames", calls, again)
        heard = []
        for index, (role, asked) in enumerate(zip(_PARTIES, requests, strict=True)):
            try:
                heard.append(_unpacked(answers[role], len(asked)))
            except WireError as fault:
                raise RoleError(f"{_name(index)} sent no valid frames: {fault}") from None
        return heard

    def _ask(self, kind: str, calls: Mapping[str, Call], again: bool = False) -> dict[str, Call]:
        """Return every role's answer; with ``again`` that to a second message, if the first gets none.

        Raises:
            RoleError: a role gave none, or says that it failed.
            Refused: a role declines.
        """
        answers = dict(self._post.ask(kind, calls))
        if again and (silent := calls.keys() - answers.keys()):
            there = self._post.discover(silent, 0)  # who is away need not be waited for twice
            answers |= self._post.ask(kind, {role: calls[role] for role in there})
        if missing := [role for role in calls if role not in answers]:
            raise RoleError(f"{_name(ROLES.index(missing[0]))} gave no answer to {kind.upper()}")
        refused = {role: refusal for role in calls if (refusal := answers[role].refusal)}
        for role, (code, rule) in sorted(refused.items(), key=lambda each: each[1][0] not in _FAILURES):
            if code in _FAILURES:
                raise RoleError(f"{_name(ROLES.index(role))} failed ({code}): {rule}")
            raise Refused(code, f"{_name(ROLES.index(role))}, {kind.upper()}: {rule}")
        return answers


def _name(rank: int) -> str:
    """Return a role as errors name it."""
    return f"party {rank}" if rank < DEALER else ROLES[DEALER]


def _asked(request: Frame) -> str:
    return f"{request.kind.name} {request.header.get('site', '')}".rstrip()


def _packed(asked: Sequence[Frame]) -> Call:
    blobs = {str(number): np.frombuffer(frames.encode(frame), np.uint8) for number, frame in enumerate(asked)}
    return Call(header={}, arrays=blobs)


def _unpacked(answer: Call, n: int) -> list[Frame]:
    if len(answer.arrays) != n:
        raise WireError(f"{len(answer.arrays)} replies to {n} frames")
    try:
        blobs = [answer.arrays[str(number)] for number in range(n)]
    except KeyError:
        raise WireError("replies without a number") from None
    if any(blob.dtype != np.uint8 or blob.ndim != 1 for blob in blobs):
        raise WireError("replies that are no bytes")
    return [frames.decode(blob.data) for blob in blobs]
