"""A compute party: adds the sites' shares and its own noise share, and opens a sum only once.

:class:`Party` is the whole protocol as a state machine from message to reply; the process around it is
:mod:`fedgenome.secure.party_process`::

    start ──PIN──▶ pinned ──BEGIN──▶ open ──PART…──▶ open ──REVEAL──▶ pinned (attempt spent)
                     │                └──────ABORT, connection lost──▶ pinned
                     └──REVEAL of the last attempt and set, again──▶ pinned (the same bytes)

Whoever drives a party may be its enemy: the roster tells whose signatures count, the query's digest
what every site agreed to, and :class:`~fedgenome.secure.once.Once` what was opened in an earlier life.
A refusal is a code and a rule in public terms, never data, and leaves the state as it was; only the
attempt of a selection that began stays spent, and a group that failed ends the party. Memory is
O(length): one accumulator and the few parts in flight.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedgenome.errors import Refused, WireError, require
from fedgenome.query import PARTIES, Array, Query, Roster, Terms, choose_scale, digest_of, from_header
from fedgenome.secure import bundle, frames, noise, ring
from fedgenome.secure.envelope import PartyKey
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.group import Group, meeting
from fedgenome.secure.identity import Identity, unhex
from fedgenome.secure.once import Once
from fedgenome.secure.runkeys import RunKey
from fedgenome.secure.winners import Chooser
from fedgenome.streams import Root

IDENTITY, ANSWERS = "identity.pem", "answers"  # files in a party's folder
_ASKED = {"length": int, "reply_length": int, "bound": float, "reduce": str, "unit": str, "precision": str}
_ASKED |= {"monotone": bool}
_NOISE = {"kind": str, "level": float, "sampling": float, "count": int, "where": str, "scope": str, "winners": int}
_WHEN = {"study": str, "run": str, "method": str, "step": int, "attempt": int, "scale": float, "payload_digest": str}


@dataclass(frozen=True, kw_only=True)
class _Pinned:
    study: str
    run: str
    terms: Terms
    roster: Roster

    @functools.cached_property
    def sites(self) -> Mapping[str, tuple[int, str]]:
        """Index and key of each site; made once, as looking by the terms costs the number of sites a part."""
        return {name: (index, key) for index, (name, _, key) in enumerate(self.roster.sites)}


@dataclass(slots=True, kw_only=True)
class _Open:
    """The query whose parts are being added: ``total`` (length,) of the ring's unsigned words."""

    query: Query
    total: Array
    noised: bool = False
    delivered: set[str] = field(default_factory=set)


class Party:
    """One party's state and its answer to each message.

    Args:
        index: Which of the three, from 0.
        root: Source of its noise.
        identity: Signs the key that it makes for a run.
        once: What it opened, in this life and earlier ones.
        share: Passes the final words through CrypTen and gives the same words back.
        group: Its peers in selections; None where it has none.

    Attributes:
        closed: It answers no more: it was told to end, or its group has failed.
        failed: Its group has failed.
    """

    def __init__(
        self,
        index: int,
        root: Root,
        identity: Identity,
        once: Once,
        share: Callable[[Array], Array],
        group: Group | None = None,
    ) -> None:
        require(0 <= index < PARTIES, f"0 <= index < {PARTIES}", index=index)
        self._index, self._root, self._identity, self._once, self._share = index, root, identity, once, share
        self._key: PartyKey | None = None  # of one run: in memory only, from PIN to CLOSE
        self._pinned: _Pinned | None = None
        self._open: _Open | None = None
        self._room = 0  # bytes of the longest answer so far
        self._burnt: set[str] = set()  # attempts whose noise was drawn in this life, recorded or not
        self._group, self._chooser = group, Chooser(root, once, group)
        self.closed = self.failed = False

    def answer(self, message: bytes | memoryview) -> Frame:
        """Return the reply to one message; whatever is wrong with it becomes a refusal.

        Nothing refers to the message afterwards: its memory may be used again.

        Codes: malformed, not-pinned, pinned-before, other-roster, other-study, unsupported, wrong-scale,
        query-open, no-query, opened-before, unknown-site, delivered-before, bad-stamp, bad-part,
        other-set, below-quorum, group-failed.
        """
        try:
            request = frames.decode(message)
            handle = self._handlers().get(request.kind)
            if handle is None:
                raise Refused("malformed", f"{request.kind.name} is not a request")
            return handle(request)
        except WireError as fault:
            return _refusal("malformed", str(fault))
        except Refused as fault:
            if fault.code == "group-failed":  # no message can be told from those of the failed computation
                self.closed = self.failed = True
            return _refusal(fault.code, fault.rule)

    def prepare(self) -> None:
        """Add the open query's noise to its empty total: done while the sites still compute."""
        if self._open:
            self._add_noise(self._open)

    def drop(self) -> None:
        """Forget the open query, if there is one. Nothing of it was revealed."""
        self._open = None

    def _handlers(self) -> Mapping[Kind, Callable[[Frame], Frame]]:
        return {
            Kind.HELLO: self._hello,
            Kind.PIN: self._pin,
            Kind.BEGIN: self._begin,
            Kind.PART: self._part,
            Kind.REVEAL: self._reveal,
            Kind.ABORT: self._abort,
            Kind.CLOSE: self._close,
        }

    def _hello(self, request: Frame) -> Frame:
        request.fields()
        return _ok(index=self._index, identity=self._identity.public)

    def _pin(self, request: Frame) -> Frame:
        study, run, told, who = request.fields(study=str, run=str, terms=dict, roster=dict)
        pinned = _Pinned(study=study, run=run, terms=_terms(told), roster=_roster(who))
        if self._pinned not in (None, pinned):
            raise Refused("pinned-before", "one study, run and terms in a party's life")
        self._admit(pinned)
        self._once.make_room(self._room)  # before a site is asked, and charged
        self._pinned, self._key = pinned, self._key or PartyKey.generate()
        if self._group is not None and pinned.roster.dealer:
            who = (*pinned.roster.parties, pinned.roster.dealer)
            self._group.meet(meeting(study, run, pinned.terms, who, self._group.addresses))
        made = RunKey.make(self._key.public, self._identity, study, run, pinned.terms, self._index)
        return _ok(terms=pinned.terms.digest, **made.to_json())

    def _admit(self, pinned: _Pinned) -> None:
        roster, terms = pinned.roster, pinned.terms
        if roster.digest != terms.roster or roster.caps != terms.caps:
            raise Refused("other-roster", "the roster is not the one that the terms name")
        if roster.parties[self._index] != self._identity.public:
            raise Refused("other-roster", "the roster names another identity for this party")

    def _begin(self, request: Frame) -> Frame:
        (header,) = request.fields(query=dict)
        if self._pinned is None:
            raise Refused("not-pinned", "PIN comes before BEGIN")
        if self._open is not None:
            raise Refused("query-open", "one query at a time")
        query = _query(header, self._pinned)
        if query.selection is not None and (self._group is None or not self._pinned.roster.dealer):
            raise Refused("unsupported", "a selection needs the dealer of the roster")
        attempt = attempt_key(query)
        if attempt in self._burnt or self._once.told(attempt) is not None:
            raise Refused("opened-before", "a (run, method, step, attempt) opens once")
        self._room = max(self._room, query.question.length * query.width // 8)
        self._once.make_room(self._room)
        self._open = _Open(query=query, total=np.zeros(query.question.length, ring.dtype_of(query.width)))
        return _ok(query=query.digest)

    def _part(self, request: Frame) -> Frame:
        site, stamp = request.fields(site=str, stamp=str)
        pinned, open_ = self._opened()
        if site not in pinned.sites:
            raise Refused("unknown-site", "the roster names no such site")
        if site in open_.delivered:
            raise Refused("delivered-before", "each site once a query")
        where, key = pinned.sites[site]
        try:
            bundle.check_stamp(open_.query, site, key, self._index, request.body, unhex(stamp, "stamp"))
        except WireError:
            raise Refused("bad-stamp", "the site did not sign this part for this query") from None
        self._add(open_, site, where, request.body)
        return _ok()

    def _add(self, open_: _Open, site: str, where: int, body: bytes | memoryview) -> None:
        if self._key is None:
            raise Refused("not-pinned", "PIN comes before PART")
        try:
            bundle.add_part(open_.query, site, where, self._index, self._key, body, open_.total)
        except WireError:
            raise Refused("bad-part", "the part does not open for this query, site and party") from None
        open_.delivered.add(site)

    def _reveal(self, request: Frame) -> Frame:
        asked, sites = request.fields(query=str, sites=list)
        if self._pinned is None:
            raise Refused("not-pinned", "PIN comes before REVEAL")
        if self._open is None or self._open.query.digest != asked:
            return self._repeat(asked, sites)
        open_ = self._open
        if sites != sorted(open_.delivered):
            raise Refused("other-set", "the sites named, sorted, are those delivered")
        if len(sites) < self._pinned.terms.quorum:
            raise Refused("below-quorum", f"at least {self._pinned.terms.quorum} sites")
        # Burnt before anything is sent: whatever fails from here on, these shares are not opened again.
        attempt = attempt_key(open_.query)
        self._burnt.add(attempt)
        self._open = None
        told = {"query": asked, "set": set_digest(asked, sites)}
        if open_.query.selection is not None:
            return _winners(told, self._chooser.choose(open_.query, attempt, told["set"], open_.total))
        self._add_noise(open_)
        words = self._share(open_.total)
        body = words.astype(words.dtype.newbyteorder("<"), copy=False).data.cast("B")
        # On the disk before it is sent: after a crash at any point this set's bytes are repeated or none are sent.
        self._once.record(attempt, " ".join(told.values()), [body])
        return Frame(kind=Kind.WORDS, header=told, body=body)

    def _repeat(self, asked: str, sites: list[str]) -> Frame:
        """Give the stored answer again, to the same query and set."""
        last, told = self._once.last
        query, opened, *stage = told.split(" ") if told else ("", "")
        if query != asked or self._pinned is None:
            raise Refused("no-query", "BEGIN comes first, and only the last answer is kept")
        if set_digest(asked, sites) != opened:
            raise Refused("other-set", "a (run, method, step, attempt) opens one set of sites, ever")
        if stage:
            found = self._chooser.repeat(last, stage[0], opened, self._pinned.terms)
            return _winners({"query": asked, "set": opened}, found)
        body = self._once.body(last)
        if body is None:
            raise Refused("opened-before", "the answer was lost in a crash; its attempt stays spent")
        return Frame(kind=Kind.WORDS, header={"query": asked, "set": opened}, body=body)

    def _add_noise(self, open_: _Open) -> None:
        query = open_.query
        if query.sigma_party and not open_.noised:
            # Engines agree on (method, step, attempt), not on run ids: a seeded run must not depend on those.
            when = (query.method, query.step, query.attempt) if self._root.seeded else (query.digest,)
            noise.sampler(query.sigma_party).add_to(open_.total, self._root.stream("noise", *when))
            open_.noised = True

    def _abort(self, request: Frame) -> Frame:
        request.fields()
        self.drop()
        return _ok()

    def _close(self, request: Frame) -> Frame:
        request.fields()
        self._open = self._key = None  # what was sealed for this run opens for nobody any more
        self.closed = True
        return _ok()

    def _opened(self) -> tuple[_Pinned, _Open]:
        if self._pinned is None or self._open is None:
            raise Refused("no-query", "BEGIN comes first")
        return self._pinned, self._open


def set_digest(query: str, sites: list[str]) -> str:
    """Return the digest of the set of ``sites``, sorted, included for a query (its digest): result shares carry it."""
    return digest_of("set", [query, sites])


def attempt_key(query: Query) -> str:
    """Return what may be answered once: the text of (run, method, step, attempt)."""
    return json.dumps([query.run, query.method, query.step, query.attempt], separators=(",", ":"))


def _ok(**header: object) -> Frame:
    return Frame(kind=Kind.OK, header=header)


def _winners(told: Mapping[str, str], winners: tuple[int, ...]) -> Frame:
    return Frame(kind=Kind.WINNERS, header={**told, "winners": list(winners)})


def _refusal(code: str, rule: str) -> Frame:
    return Frame(kind=Kind.REFUSED, header={"code": code, "rule": rule})


def _roster(told: Mapping[str, Any]) -> Roster:
    sites, parties, _ = Frame(kind=Kind.PIN, header=told).fields(sites=list, parties=list, dealer=str)
    if not all(type(site) is list and [type(x) for x in site] == [str, int, str] for site in sites):
        raise WireError("roster: sites are lists of name, cap and key")
    if not all(type(party) is str for party in parties):
        raise WireError("roster: parties are keys")
    roster = Roster(sites=tuple(map(tuple, sites)), parties=tuple(parties), dealer=told["dealer"])
    try:
        roster.check()
    except ValueError:
        raise WireError("roster: a key of its own for every site and each party") from None
    return roster


def _terms(told: Mapping[str, Any]) -> Terms:
    names = {"caps": list, "colluders": int, "quorum": int, "roster": str, "plan": str}
    (caps, *_) = Frame(kind=Kind.PIN, header=told).fields(**names)
    if not all(type(cap) is list and [type(x) for x in cap] == [str, int] for cap in caps):
        raise WireError("terms: caps are pairs of site and number")
    if len({site for site, _ in caps}) < len(caps):
        raise WireError("terms: every site once")
    try:
        return Terms(**{**told, "caps": tuple((site, cap) for site, cap in caps)})
    except ValueError as fault:
        raise WireError(f"terms: {fault}") from None


def _query(header: Mapping[str, Any], pinned: _Pinned) -> Query:
    """Rebuild the query under the pinned terms and check that it is one this party may answer."""
    query, scale = _rebuild(header, pinned.terms)
    if (query.study, query.run) != (pinned.study, pinned.run):
        raise Refused("other-study", "the query names another study or run")
    if query.question.length * query.width // 8 > frames.MAX_FRAME:
        raise Refused("unsupported", "vectors that fit a frame")
    if query.scale != scale:
        raise Refused("wrong-scale", "the scale is not the one that the terms give")
    return query


def _rebuild(header: Mapping[str, Any], terms: Terms) -> tuple[Query, float]:
    """Return the query and the scale that it must have; any malformed field is a WireError."""
    try:
        typed = [(header[name], kind) for name, kind in _WHEN.items()]
        typed += [(header["question"][name], kind) for name, kind in _ASKED.items()]
        if (mechanism := header["question"]["mechanism"]) is not None:
            typed += [(mechanism[name], kind) for name, kind in _NOISE.items()]
        require(all(type(value) is kind for value, kind in typed), "query header: fields of their types")
        query = from_header(header, terms, None)
        return query, choose_scale(query.question, terms)
    except ValueError as fault:  # SpecError and WireError, whose texts name rules and public numbers
        raise WireError(str(fault)) from None
    except (KeyError, TypeError, ArithmeticError, AttributeError):
        raise WireError("query header: a field is missing or of another type") from None
