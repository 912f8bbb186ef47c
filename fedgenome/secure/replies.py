"""What parties are asked, and what they must answer: the same for every driver, whatever carries the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from fedgenome.errors import Refused, RoleError, WireError
from fedgenome.query import Array, Query, Roster, Terms
from fedgenome.secure import ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.party import set_digest
from fedgenome.secure.runkeys import RunKey


def pinning(study: str, run: str, terms: Terms, roster: Roster) -> dict[str, object]:
    """Return the header of PIN."""
    return {"study": study, "run": run, "terms": plain(terms), "roster": plain(roster)}


def closing(query: Query, sites: Sequence[str]) -> tuple[dict[str, object], dict[str, str]]:
    """Return the header of a query's REVEAL, and what every answer to it must say."""
    included = sorted(sites)
    told = {"query": query.digest, "set": set_digest(query.digest, included)}
    return {"query": query.digest, "sites": included}, told


def accepted(index: int, asked: str, reply: Frame) -> Frame:
    """Return a party's reply unless it refuses.

    Args:
        index: Which party.
        asked: What it was asked, as errors name it.
        reply: What came.

    Raises:
        Refused: it refuses, with the code and rule that it gave.
        RoleError: it failed inside.
        WireError: it refuses without them.
    """
    if reply.kind is not Kind.REFUSED:
        return reply
    code, rule = reply.fields(code=str, rule=str)
    if code == "internal":
        raise RoleError(f"party {index} failed inside at {asked}; its standard error says where")
    raise Refused(code, f"party {index}, {asked}: {rule}")


def run_key(who: str, reply: Frame, terms: Terms) -> RunKey:
    """Return the key that a party made for the run, from its reply to PIN.

    Raises:
        RoleError: the reply is none, or the party holds other terms.
    """
    try:
        digest, public, signature = reply.fields(terms=str, public=str, signature=str)
        key = RunKey.from_json({"public": public, "signature": signature})
    except WireError as fault:
        raise RoleError(f"{who} sent no valid key: {fault}") from None
    agree(who, digest == terms.digest)
    return key


def check_begun(who: str, reply: Frame, query: Query) -> None:
    """Check a party's reply to BEGIN.

    Raises:
        RoleError: it began another query.
    """
    agree(who, reply.header == {"query": query.digest})


def add_words(who: str, reply: Frame, told: Mapping[str, str], query: Query, total: Array) -> None:
    """Add a party's result share to ``total``, uint32 or uint64 (length,), in place.

    Raises:
        RoleError: the reply is none, or it is of another query or set: shares of different sets add up to noise.
    """
    agree(who, reply.kind is Kind.WORDS and reply.header == told and len(reply.body) == total.nbytes)
    total += words(reply.body, query)


def winners(replies: Mapping[str, Frame], told: Mapping[str, str], query: Query) -> Array:
    """Return the winners that all parties, by name, told alike: int64 (k,).

    Raises:
        RoleError: a reply is none, or differs from the first.
    """
    first = next(iter(replies.values())).header.get("winners")
    for who, reply in replies.items():
        same = reply.kind is Kind.WINNERS and reply.header == {**told, "winners": first}
        agree(who, same and possible(first, query))
    return np.array(first, np.int64)


def plain(facts: Terms | Roster) -> dict[str, object]:
    """Return the fields of ``facts`` by name, as messages hold them."""
    return {each.name: getattr(facts, each.name) for each in fields(facts) if each.init}


def agree(who: str, same: bool) -> None:
    """Raise :class:`RoleError` unless a role answered what it was asked."""
    if not same:
        raise RoleError(f"{who} answered something else than was asked")


def possible(winners: Any, query: Query) -> bool:
    """Whether these are as many different indices as were asked for."""
    plain = type(winners) is list and all(
        type(index) is int and 0 <= index < query.question.length for index in winners
    )
    return plain and len(set(winners)) == len(winners) == query.question.reply_length


def words(body: bytes | memoryview, query: Query) -> Array:
    """Return a result share as words of the query's ring, uint32 or uint64."""
    word = np.dtype(ring.dtype_of(query.width))
    return np.frombuffer(body, word.newbyteorder("<")).astype(word, copy=False)
