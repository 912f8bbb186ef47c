"""Vectors of messages and files; each function returns what its vectors mean."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fedgenome.query import PARTIES
from fedgenome.secure import bundle, frames, party
from fedgenome.secure.frames import Kind
from tests.vectors.cases.roles import (
    KEYS,
    SITES,
    a_selection,
    flipped,
    framed,
    hashed,
    pinned,
    public_of,
    roster_told,
    sealed_by,
    small,
)
from tests.vectors.library import party_key_of, query_of


def _raw(header: bytes, body: bytes = b"", kind: int = Kind.PART, magic: bytes = b"FGPF", version: int = 1) -> str:
    return (frames.HEAD.pack(magic, version, kind, len(header), len(body)) + header + body).hex()


def frame(v: Any) -> str:
    pin = {"study": hashed("study"), "run": "run-1", "terms": pinned(), "roster": roster_told()}
    made = small(32)
    stamp, digest = hashed("stamp", size=165), hashed("query")
    key = {"public": hashed("public", size=1216), "signature": hashed("signature", size=64)}
    good: list[tuple[str, Kind, dict[str, Any], bytes]] = [
        ("HELLO", Kind.HELLO, {}, b""),
        ("PIN", Kind.PIN, pin, b""),
        ("BEGIN", Kind.BEGIN, {"query": made["header"]}, b""),
        ("PART", Kind.PART, {"site": "graz", "stamp": stamp}, b"a sealed part"),
        ("PART without a body", Kind.PART, {"site": "graz", "stamp": stamp}, b""),
        ("REVEAL", Kind.REVEAL, {"query": digest, "sites": ["berlin", "graz"]}, b""),
        ("ABORT", Kind.ABORT, {}, b""),
        ("CLOSE", Kind.CLOSE, {}, b""),
        ("OK of HELLO", Kind.OK, {"index": 0, "identity": public_of("party-0")}, b""),
        ("OK of PIN", Kind.OK, {"terms": hashed("terms"), **key}, b""),
        ("OK of BEGIN", Kind.OK, {"query": digest}, b""),
        ("OK of PART", Kind.OK, {}, b""),
        ("WORDS", Kind.WORDS, {"query": digest, "set": hashed("set")}, bytes(range(24))),
        ("WINNERS", Kind.WINNERS, {"query": digest, "set": hashed("set"), "winners": [17, 0, 4]}, b""),
        ("REFUSED", Kind.REFUSED, {"code": "other-set", "rule": "größer"}, b""),
    ]
    for name, kind, header, body in good:
        v.good(name, frame=framed(kind, header, body))
    right = framed(Kind.PART, {"site": "graz", "stamp": stamp}, b"a sealed part")
    header = bytes.fromhex(right)[18:-13]
    _bad_frames(v, right, header)
    told = {"site": "graz", "stamp": stamp}
    misunderstood = {
        "unknown field": ("PART has no other fields.", Kind.PART, told | {"more": 1}),
        "field missing": ("PART has two fields.", Kind.PART, {"site": "graz"}),
        "field of another type": ("A site is text.", Kind.PART, told | {"site": 1}),
        "field in HELLO": ("HELLO has no fields.", Kind.HELLO, {"index": 0}),
        "field in CLOSE": ("CLOSE has no fields.", Kind.CLOSE, {"now": True}),
        "PIN without a roster": ("PIN has four fields.", Kind.PIN, {k: x for k, x in pin.items() if k != "roster"}),
        "BEGIN without a query": ("A query's header is an object.", Kind.BEGIN, {"query": "none"}),
        "REVEAL without a list": ("Sites are a list.", Kind.REVEAL, {"query": digest, "sites": "berlin"}),
    }
    for label, (wrong, kind, fields) in misunderstood.items():
        v.bad(label, wrong, frame=framed(kind, fields))
    return "A frame between driver and party gives its kind, header and body. Bad: no frame, or no request of its kind."


def _bad_frames(v: Any, right: str, header: bytes) -> None:
    field = header[1:-1]
    wrongs = {
        "empty": ("A frame has a head of 18 bytes.", ""),
        "head truncated": ("A frame has a head of 18 bytes.", right[:34]),
        "truncated": ("The last byte is missing.", right[:-2]),
        "over-long": ("A byte too many.", right + "00"),
        "magic": ("A frame begins with FGPF.", _raw(header, b"x", magic=b"FGPT")),
        "version": ("The version is 1.", _raw(header, b"x", version=2)),
        "kind 0": ("There is no such kind.", _raw(header, kind=0)),
        "kind 63": ("There is no such kind.", _raw(header, kind=63)),
        "header length": ("The lengths do not add up.", flipped(right, 9)),
        "body length": ("The lengths do not add up.", flipped(right, 17)),
        "lengths that trade a byte": ("The header ends elsewhere.", flipped(flipped(right, 9), 17)),
        "vast body": ("The lengths do not add up.", flipped(right, 10, 128)),
        "body where none is allowed": ("BEGIN has no body.", _raw(b'{"query":{}}', b"x", kind=Kind.BEGIN)),
        "body of a reply": ("OK has no body.", _raw(b"{}", b"x", kind=Kind.OK)),
        "body of winners": ("WINNERS has no body.", _raw(b"{}", b"x", kind=Kind.WINNERS)),
        "header empty": ("A header is an object.", _raw(b"")),
        "header a list": ("A header is an object.", _raw(b"[]")),
        "space": ("Canonical JSON has no spaces.", _raw(b"{ " + field + b"}")),
        "keys unsorted": ("Canonical JSON has sorted keys.", _raw(b'{"stamp":"00","site":"graz"}')),
        "duplicate key": ("A key stands once.", _raw(b'{"site":"graz",' + field + b"}")),
        "NaN": ("NaN is no JSON.", _raw(b'{"site":NaN}')),
        "infinity": ("Infinities are no JSON.", _raw(b'{"site":Infinity}')),
        "not UTF-8": ("Canonical JSON is ASCII.", _raw(b'{"site":"\xff"}')),
        "not ASCII": ("Canonical JSON is ASCII.", _raw('{"site":"ö"}'.encode())),
        "byte order mark": ("Canonical JSON is ASCII.", _raw(b"\xef\xbb\xbf{}")),
    }
    for label, (wrong, value) in wrongs.items():
        v.bad(label, wrong, frame=value)


_REFUSED = framed(Kind.REFUSED, {"code": "other-set", "rule": ""})


def _by_party(replies: Iterable[str]) -> dict[str, str]:
    return {f"party-{index}": reply for index, reply in enumerate(replies)}


def _third(right: dict[str, str], wrong: dict[str, str]) -> dict[str, str]:
    """Return the replies of which that of party 2 is wrong."""
    return right | {"party-2": wrong["party-2"]}


def opening(v: Any) -> str:
    made = small(32)
    given = {name: made[name] for name in ("header", "terms")}
    query, sites = query_of(**given), list(SITES)
    totals = np.zeros((PARTIES, query.question.length), np.uint32)
    for index, site in enumerate(SITES):
        parts = sealed_by(v, made, site)
        for i, sealed in enumerate(parts):
            bundle.add_part(query, site, index, i, party_key_of(KEYS[i]), sealed, totals[i])

    def replies(words: Any = totals, of: Any = sites, digest: str = query.digest) -> dict[str, str]:
        told = {"query": digest, "set": party.set_digest(query.digest, of)}
        return _by_party(framed(Kind.WORDS, told, one.tobytes()) for one in words)

    right = replies()
    of = v.good("three sites, exact", sites=sites, replies=right, **given)
    wide = small(64)
    far = query_of(wide["header"], wide["terms"])
    told = {"query": far.digest, "set": party.set_digest(far.digest, ["graz"])}
    shares = [[2**64 - 5, 7], [2, 2**63], [0, 2**63 - 8]]
    v.good(
        "64 bits",
        sites=["graz"],
        replies=_by_party(framed(Kind.WORDS, told, np.array(one, "<u8").tobytes()) for one in shares),
        header=wide["header"],
        terms=wide["terms"],
    )
    beyond = totals.copy()
    beyond[0, :1] += np.uint32(2**31)
    v.bads(
        "replies",
        of,
        {
            "beyond the limit": ("No honest sum is so large.", replies(beyond)),
            "other set": ("A party opened another set.", _third(right, replies(of=sites[:2]))),
            "other query": ("A party opened another query.", _third(right, replies(digest=hashed("x")))),
            "one refused": ("A party refused.", _third(right, _by_party([_REFUSED] * PARTIES))),
        },
    )
    v.bads("sites", of, {"sites unsorted": ("A set's digest is over the sorted names.", sites[::-1])})
    scores = a_selection(mechanism=None, length=5)
    exact = query_of(scores["header"], scores["terms"])
    told = {"query": exact.digest, "set": party.set_digest(exact.digest, sites)}
    v.good(
        "scores without noise: ties go to the lowest index",
        sites=sites,
        replies=_by_party(framed(Kind.WORDS, told, np.array(one, "<u4").tobytes()) for one in _SCORES),
        header=scores["header"],
        terms=scores["terms"],
    )
    return (
        "Three parties' replies to REVEAL of `sites` give the sum: integers of the ring, numbers as hexadecimal floats;"
        " of scores without noise also the winners."
    )


_SCORES = [[2**32 - 1, 5, 9, 7, 0], [0, 4, 2**32 - 9, 1, 2**32 - 1], [2, 1, 10, 2, 2**32 - 2]]


def message(v: Any) -> str:
    whole = bytes.fromhex(framed(Kind.ABORT, {}))
    sent = frames.LENGTH.pack(len(whole)) + whole
    of = v.good("ABORT", sent=sent.hex())
    v.good("the next message is left for the next reading", sent=(sent + sent[:7]).hex())
    v.good("no bytes: no frame, but a message", sent="00000000")
    v.bads(
        "sent",
        of,
        {
            "nothing": ("The other end left.", ""),
            "length truncated": ("A length has 4 bytes.", sent[:3].hex()),
            "truncated": ("The last byte is missing.", sent[:-1].hex()),
            "little-endian length": ("A length is big-endian.", (sent[3::-1] + whole).hex()),
            "too long": ("A message is shorter than 2^31 bytes.", (b"\x80\0\0\0" + whole).hex()),
            "length in 8 bytes": ("There is no longer form.", (b"\xff" * 4 + bytes(4) + sent).hex()),
        },
    )
    return "What the driver's or the party's socket brings first: a length, and the bytes of one frame."


def winners(v: Any) -> str:
    made, sites = a_selection(), list(SITES)
    query = query_of(made["header"], made["terms"])
    told = {"query": query.digest, "set": party.set_digest(query.digest, sites), "winners": [17, 0, 39]}

    def replies(kind: Kind = Kind.WINNERS, **changes: Any) -> dict[str, str]:
        return _by_party([framed(kind, told | changes)] * PARTIES)

    right = replies()
    of = v.good("3 of 40", header=made["header"], terms=made["terms"], sites=sites, replies=right)
    v.bads(
        "replies",
        of,
        {
            "other winners": ("A party found others.", _third(right, replies(winners=[17, 39, 0]))),
            "other set": ("A party opened another set.", _third(right, replies(set=hashed("x")))),
            "other query": ("Parties opened another query.", replies(query=hashed("x"))),
            "one refused": ("A party refused.", _third(right, _by_party([_REFUSED] * PARTIES))),
            "too few winners": ("Three were asked for.", replies(winners=[17, 0])),
            "too many winners": ("Three were asked for.", replies(winners=[17, 0, 39, 1])),
            "winner twice": ("A score wins once.", replies(winners=[17, 0, 17])),
            "no such score": ("Indices are below the number of scores.", replies(winners=[17, 0, 40])),
            "negative index": ("Indices begin at 0.", replies(winners=[17, 0, -1])),
            "index of truth": ("An index is an integer.", replies(winners=[17, 0, True])),
            "index as a float": ("An index is an integer.", replies(winners=[17.0, 0, 39])),
            "unknown field": ("A reply has no other fields.", replies(more=1)),
            "shares of scores": ("Scores are never opened.", replies(kind=Kind.WORDS)),
        },
    )
    v.bads("sites", of, {"sites unsorted": ("A set's digest is over the sorted names.", sites[::-1])})
    return "Three parties' replies to REVEAL of a selection give its winners, largest first."


def call(v: Any) -> str:
    array = {
        "dtype": "<f4",
        "shape": [2, 2],
        "stype": "fedgenome.raw",
        "data": np.arange(4, dtype="<f4").tobytes().hex(),
    }
    raw = {"dtype": "|u1", "shape": [3], "stype": "fedgenome.raw", "data": "00ff07"}
    v.good("hello", json="{}", arrays={})
    v.good("close", json="{}", arrays={})
    v.good("a sum in the clear", json='{"site":"graz"}', arrays={"sum": raw | {"dtype": "<u4", "data": "00ff0700" * 3}})
    v.good("site's answer", json='{"site":"graz"}', arrays={"part0": raw})
    v.good("refusal", json='{"refused":["over-cap","the site takes no part"]}', arrays={})
    of = v.good("ask", json='{"query":{"scale":2.0}}', arrays={"w": array, "t": raw | {"shape": [], "data": "03"}})
    v.bads(
        "arrays",
        of,
        {
            "other file format": ("Arrays travel as raw bytes.", {"w": array | {"stype": "numpy.ndarray"}}),
            "objects": ("Arrays hold numbers.", {"w": array | {"dtype": "|O"}}),
            "text": ("Arrays hold numbers.", {"w": array | {"dtype": "<U1"}}),
            "unknown element type": ("There is no such element type.", {"w": array | {"dtype": "nonsense"}}),
            "other shape": ("Shape and bytes do not agree.", {"w": array | {"shape": [3, 2]}}),
            "truncated": ("Bytes are missing.", {"w": array | {"data": array["data"][:-2]}}),
            "over long": ("A byte too many.", {"w": array | {"data": array["data"] + "00"}}),
        },
    )
    v.bads(
        "json",
        of,
        {
            "header a list": ("A header is an object.", "[1]"),
            "no JSON": ("A header is JSON.", "{"),
            "header empty": ("A header is JSON.", ""),
        },
    )
    return (
        "A call's two records, `header` and `arrays`, give header and arrays as lists. The JSON need not be canonical."
    )
