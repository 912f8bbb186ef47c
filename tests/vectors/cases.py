"""What the vectors hold: one function a structure, which adds good and bad ones and returns what they mean."""

import functools
import hashlib
import itertools
import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fedgenome.query import PARTIES, Mechanism, Query, Question, Roster, choose_scale
from fedgenome.secure import bundle, dealer, envelope, frames, links, party, ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.generators import Meeting, _signed
from fedgenome.secure.once import Once
from fedgenome.study import Plan
from tests.vectors.library import identity_of, party_key_of, query_of, terms_of

SITES = ("berlin", "graz", "vienna")
LOW_ORDER = (
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
)


def hashed(*labels: object, size: int = 32) -> str:
    """Return hex that follows from ``labels``."""
    blocks = (hashlib.sha256(repr((*labels, i)).encode()).digest() for i in itertools.count())
    raw = b"".join(itertools.islice(blocks, -(-size // 32)))
    return raw[:size].hex()


def flipped(text: str, at: int, bits: int = 1) -> str:
    """Return the hex with ``bits`` of the byte ``at`` inverted."""
    raw = bytearray.fromhex(text)
    raw[at] ^= bits
    return raw.hex()


KEYS = [hashed("party key", index, size=96) for index in range(PARTIES)]
IDENTITIES = {role: hashed("identity", role) for role in (*SITES, "party-0", "party-1", "party-2", "dealer")}


def public_of(role: str) -> str:
    """Return a role's public identity."""
    return identity_of(IDENTITIES[role]).public


# ── what all sides pin ───────────────────────────────────────────────────────────────────────────

ROSTER = Roster(
    sites=tuple((site, 100, public_of(site)) for site in SITES),
    parties=tuple(public_of(f"party-{index}") for index in range(PARTIES)),
    dealer=public_of("dealer"),
)
STUDY = {
    "name": "example",
    "schema": {"genes": ["CD3D", "NKG7"], "labels": ["B", "T"], "low": 0.0, "high": 6.5, "unit": "donor"},
    "methods": [{"kind": "marginals", "name": None, "noise": 1.0, "options": {"bins": 8, "why": "größer"}}],
    "privacy": {"trust": "distributed", "epsilon": 3.0, "delta": 1e-05, "colluders": 1, "retries": 0.05},
    "donors_bound": 300,
    "quorum": 2,
    "roster": [{"name": name, "cap": cap, "key": key} for name, cap, key in ROSTER.sites],
    "parties": list(ROSTER.parties),
    "dealer": ROSTER.dealer,
    "secure": "on",
}
NOISE = {"kind": "gaussian", "level": 0.8, "sampling": 0.1, "count": 1, "where": "parties", "scope": "cvae"}
PLAN = {"mechanisms": [NOISE | {"count": 210}]}


def pinned(**changes: Any) -> dict[str, Any]:
    """Return terms as PIN carries them."""
    terms = {"caps": [list(cap) for cap in ROSTER.caps], "colluders": 1, "quorum": 2, "roster": ROSTER.digest}
    return terms | {"plan": Plan.model_validate(PLAN).digest} | changes


def roster_told(**changes: Any) -> dict[str, Any]:
    """Return the roster as PIN carries it."""
    told = {"sites": [list(site) for site in ROSTER.sites], "parties": list(ROSTER.parties), "dealer": ROSTER.dealer}
    return told | changes


def digest(v: Any) -> str:
    values = {
        "study": STUDY,
        "plan": PLAN,
        "roster": [ROSTER.sites, ROSTER.parties, ROSTER.dealer],
        "roster file": [["site", "berlin", public_of("berlin")], ["party", "party-0", public_of("party-0")]],
        "terms": [ROSTER.caps, 1, 2, ROSTER.digest, hashed("plan")],
        "payload": [["w", "<f4", [2, 3], hashed("array")]],
        "query": [a_query()["header"], [32, (131193.0).hex(), (104954.5).hex()]],
        "set": [hashed("query"), list(SITES)],
        "meeting": ["session", [*ROSTER.parties, ROSTER.dealer]],
        "select": [hashed("query"), 32, {"sensitivity": 1.0}],
    }
    for kind, value in values.items():
        v.good(f"kind {kind}", kind=kind, json=canonical(value))
    odd = {
        "é": '\x7f"\\\n\x1f/😀',
        "a": [1, 1.0, 1e16, 1e-05, 0.0001, 123456789.123, -0.0, 5e-324, None, True],
        "B": {},
    }
    v.good("keys by code point, text as escapes, every form of number", kind="set", json=canonical(odd))
    wrong = {
        "keys unsorted": ("Keys are sorted.", '{"b":1,"a":2}'),
        "duplicate key": ("A key stands once.", '{"a":1,"a":1}'),
        "space": ("There are no spaces.", "[1, 2]"),
        "NaN": ("NaN is no JSON.", "[NaN]"),
        "infinity": ("Infinities are no JSON.", "[-Infinity]"),
        "overflow": ("A number that float64 does not hold would come back as infinite.", "[1e400]"),
        "not ASCII": ("Text beyond ASCII is escaped.", '["é"]'),
        "upper-case escape": ("Escapes have lower-case digits.", '["\\u00E9"]'),
        "needless escape": ("A slash is not escaped.", '["\\/"]'),
        "longer number": ("A number is the shortest text that gives it.", "[0.10]"),
        "exponent": ("Exponents begin at 1e+16.", "[1e5]"),
        "exponent without sign": ("An exponent has its sign and two digits.", "[1e16]"),
        "leading zero": ("Integers have no leading zero.", "[01]"),
        "trailing comma": ("It is no JSON.", "[1,]"),
        "truncated": ("It is no JSON.", '{"a":1'),
        "over-long": ("One value, and nothing after it.", "[1][2]"),
    }
    for name, (why, text) in wrong.items():
        v.bad(name, why, kind="set", json=text)
    return "The canonical JSON of a value of a kind gives its digest. Bad: text that is not canonical."


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def study(v: Any) -> str:
    of = v.good("three sites, a dealer", study=STUDY, plan=PLAN)
    keyless = [entry | {"key": ""} for entry in STUDY["roster"]]
    open_ = STUDY["privacy"] | {"trust": "none", "epsilon": None, "delta": None}
    v.good(
        "no keys, no privacy, an empty plan",
        study=STUDY | {"roster": keyless, "parties": [], "dealer": "", "privacy": open_, "secure": "off"},
        plan={"mechanisms": []},
    )
    first, *rest = STUDY["roster"]

    def site(**changes: Any) -> dict[str, Any]:
        return STUDY | {"roster": [first | changes, *rest]}

    v.bads(
        "study",
        of,
        {
            "unknown field": ("A Study has no other fields.", STUDY | {"more": 1}),
            "field missing": ("Every site has a cap.", STUDY | {"roster": [{"name": "berlin", "key": ""}]}),
            "cap zero": ("A cap is at least 1.", site(cap=0)),
            "cap as text": ("A cap is a number.", site(cap="many")),
            "name of a site": ("Names are lower-case letters, digits, _ and -.", site(name="Berlin")),
            "site twice": ("A site stands once.", site(name="graz")),
            "key twice": ("A key stands once.", site(key=public_of("graz"))),
            "key missing": ("If one role has a key, all have.", site(key="")),
            "key in upper case": ("A key is 64 lower-case hex digits.", site(key=public_of("berlin").upper())),
            "two parties": ("There are three parties.", STUDY | {"parties": STUDY["parties"][:2]}),
            "quorum beyond the sites": ("The quorum is at most the number of sites.", STUDY | {"quorum": 4}),
            "three colluders": (
                "At most two parties collude.",
                STUDY | {"privacy": STUDY["privacy"] | {"colluders": 3}},
            ),
            "large delta": (
                "Delta is at most 1 / (10 donors).",
                STUDY | {"privacy": STUDY["privacy"] | {"delta": 0.001}},
            ),
            "epsilon without trust": (
                "Trust none has no epsilon.",
                STUDY | {"privacy": STUDY["privacy"] | {"trust": "none"}},
            ),
            "open under distributed": ("secure off needs trust none.", STUDY | {"secure": "off"}),
        },
    )
    v.bads(
        "plan",
        of,
        {
            "plan with an unknown field": ("A plan has no other fields.", PLAN | {"more": 1}),
            "level zero": ("A level is positive.", {"mechanisms": [NOISE | {"level": 0.0}]}),
            "rate above one": ("A sampling rate is at most 1.", {"mechanisms": [NOISE | {"sampling": 1.5}]}),
            "unknown kind": ("A mechanism is gaussian or exponential.", {"mechanisms": [NOISE | {"kind": "laplace"}]}),
        },
    )
    return "The Study and plan of a join, all fields spelled out, give the digests of Study, plan, roster and terms."


def terms(v: Any) -> str:
    of = v.good("three sites", terms=pinned(), roster=roster_told())
    caps, sites = of["terms"]["caps"], of["roster"]["sites"]
    v.bads(
        "terms",
        of,
        {
            "unknown field": ("Terms have no other fields.", pinned(digest=hashed("x"))),
            "other roster": ("The digest is that of another roster.", pinned(roster=hashed("x"))),
            "other cap": ("The caps are not the roster's.", pinned(caps=[["berlin", 99], *caps[1:]])),
            "other order": ("Caps stand in roster order.", pinned(caps=caps[::-1])),
            "site twice": ("A site stands once.", pinned(caps=[caps[0], caps[0], caps[2]])),
            "cap of truth": ("A cap is an integer, not true.", pinned(caps=[["berlin", True], *caps[1:]])),
            "cap zero": ("A cap is at least 1.", pinned(caps=[["berlin", 0], *caps[1:]])),
            "three colluders": ("At most two parties collude.", pinned(colluders=3)),
            "quorum zero": ("A quorum is at least 1.", pinned(quorum=0)),
            "quorum as a float": ("A quorum is an integer.", pinned(quorum=2.0)),
        },
    )
    v.bads(
        "roster",
        of,
        {
            "roster with an unknown field": ("A roster has no other fields.", roster_told(more="")),
            "key twice": (
                "One key under two names would count twice.",
                roster_told(sites=[sites[0], ["graz", 100, sites[0][2]], sites[2]]),
            ),
            "key cut": ("A key is 64 hex digits.", roster_told(dealer=ROSTER.dealer[:-2])),
            "two parties": ("There are three parties.", roster_told(parties=ROSTER.parties[:2])),
            "parties in another order": ("The order of the parties counts.", roster_told(parties=ROSTER.parties[::-1])),
        },
    )
    return "The terms and roster of PIN give their digests; the roster must be that of the terms."


# ── queries ──────────────────────────────────────────────────────────────────────────────────────


def a_query(
    *, mechanism: Any = NOISE, caps: Any = None, colluders: int = 1, length: int = 6, bound: float = 1.0, **changes: Any
) -> dict[str, Any]:
    """Return header, terms, Study digest and run of a query; ``changes`` are fields of question or query."""
    told = pinned(colluders=colluders) | ({"caps": caps} if caps else {})
    asked = {name: changes.pop(name) for name in ("unit", "precision", "reduce", "payload") if name in changes}
    made = Mechanism(**mechanism) if mechanism else None
    question = Question(**{"payload": {}} | asked, length=length, reply_length=length, bound=bound, mechanism=made)
    when = {"study": hashed("study"), "run": "run-1", "method": "cvae", "step": 7, "attempt": 0} | changes
    under = terms_of(told)
    query = Query(question=question, terms=under, scale=choose_scale(question, under), **when)
    return {"header": query.header(), "terms": told, "study": query.study, "run": query.run}


def asked(of: dict[str, Any], question: Any = None, mechanism: Any = None, **changes: Any) -> dict[str, Any]:
    """Return the header of ``of`` with some fields changed."""
    header = of["header"] | changes
    old = header["question"] | (question or {})
    return header | {"question": old | ({"mechanism": old["mechanism"] | mechanism} if mechanism else {})}


def query(v: Any) -> str:
    five, fifty = [[f"s{i}", 400] for i in range(5)], [[f"s{i}", 20000] for i in range(50)]
    big = [["huge", 2**40], ["small", 1]]
    of = v.good("a round of gradients, five sites", **a_query(length=9410, precision="float32", caps=five))
    v.good("the same at fifty sites of 20,000: 64 bits", **a_query(length=9410, precision="float32", caps=fifty))
    v.good(
        "the same at forty sites: a coarser scale",
        **a_query(length=9410, precision="float32", caps=five * 8 and [[f"s{i}", 400] for i in range(40)]),
    )
    v.good("float64, all donors, two colluders", **a_query(mechanism=NOISE | {"sampling": 1.0}, colluders=2))
    v.good(
        "float32, all donors, no colluders",
        **a_query(mechanism=NOISE | {"sampling": 1.0}, precision="float32", colluders=0),
    )
    v.good("no noise", **a_query(mechanism=None))
    v.good("no noise, 64 bits", **a_query(mechanism=None, caps=big, length=1))
    v.good("each site bounded", **a_query(unit="site", mechanism=None, caps=big))
    v.good("small bound, a resumed attempt", **a_query(bound=0.001, attempt=3))
    v.good("bound that is no power of two", **a_query(bound=0.3, length=77, run="run ö", method="marginals"))
    other = terms_of(pinned(quorum=1)).digest
    scale = of["header"]["scale"]
    v.bads(
        "header",
        of,
        {
            "unknown field": ("A header has no other fields.", asked(of, more=1)),
            "unknown field of the question": ("A question has no other fields.", asked(of, {"more": 1})),
            "unknown field of the mechanism": ("A mechanism has no other fields.", asked(of, mechanism={"more": 1})),
            "payload in the header": ("The payload travels beside the header.", asked(of, {"payload": {}})),
            "field missing": ("Every field is there.", {k: x for k, x in of["header"].items() if k != "attempt"}),
            "other terms": ("The terms are not those pinned.", asked(of, terms=other)),
            "other study": ("The Study is not the one pinned.", asked(of, study=hashed("other"))),
            "other run": ("The run is not the one pinned.", asked(of, run="run-2")),
            "step negative": ("A step is at least 0.", asked(of, step=-1)),
            "attempt of truth": ("An attempt is an integer, not false.", asked(of, attempt=False)),
            "step as a float": ("A step is an integer.", asked(of, step=7.0)),
            "length as a float": ("A length is an integer.", asked(of, {"length": 9410.0})),
            "length zero": ("A length is at least 1.", asked(of, {"length": 0})),
            "bound as an integer": ("A bound is written as a float.", asked(of, {"bound": 1})),
            "bound zero": ("A bound is positive.", asked(of, {"bound": 0.0})),
            "coarser scale": ("The scale is not the one that question and terms give.", asked(of, scale=scale / 2)),
            "finer scale": ("The scale is not the one that question and terms give.", asked(of, scale=scale * 2)),
            "scale no power of two": ("A scale is a power of two.", asked(of, scale=scale * 1.5)),
            "scale negative": ("A scale is positive.", asked(of, scale=-scale)),
            "unknown precision": ("Precision is float64 or float32.", asked(of, {"precision": "float16"})),
            "unknown unit": ("A unit is donor or site.", asked(of, {"unit": "row"})),
            "unknown reduction": ("Reduce is sum or select.", asked(of, {"reduce": "max"})),
            "level zero": ("A level is positive.", asked(of, mechanism={"level": 0.0})),
            "rate zero": ("A rate is positive.", asked(of, mechanism={"sampling": 0.0})),
            "rate above one": ("A rate is at most 1.", asked(of, mechanism={"sampling": 1.5})),
            "count zero": ("A count is at least 1.", asked(of, mechanism={"count": 0})),
            "unknown mechanism": ("A mechanism is gaussian or exponential.", asked(of, mechanism={"kind": "laplace"})),
            "noise at home": ("Parties add the noise of every secure sum.", asked(of, mechanism={"where": "home"})),
            "too little noise": ("A party's noise is at least 4 ring units.", asked(of, mechanism={"level": 1e-07})),
            "mechanism empty": ("A mechanism is whole or null.", asked(of, {"mechanism": {}})),
        },
    )
    return (
        "A query's header, and the terms, Study digest and run that a party pinned, give the digest, the ring's width,"
        " and Δ, σ, a party's σ and the limit as hexadecimal floats."
    )


def payload(v: Any) -> str:
    held = {"w": np.arange(6, dtype="<f4").reshape(2, 3), "edges": np.array([1, -2], "<i8"), "t": np.array(3, "|u1")}
    made = a_query(payload=held)
    arrays = {
        name: {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes().hex()}
        for name, array in held.items()
    }
    of = v.good("three arrays, one without axes", header=made["header"], terms=made["terms"], arrays=arrays)
    none = a_query()
    v.good("no arrays", header=none["header"], terms=none["terms"], arrays={})
    v.bads(
        "arrays",
        of,
        {
            "other bytes": (
                "A bit of an array is another.",
                arrays | {"w": arrays["w"] | {"data": flipped(arrays["w"]["data"], 0)}},
            ),
            "other shape": ("The shape is another.", arrays | {"w": arrays["w"] | {"shape": [3, 2]}}),
            "other element type": ("The element type is another.", arrays | {"w": arrays["w"] | {"dtype": "<i4"}}),
            "other name": ("A name is another.", {"x" if name == "w" else name: a for name, a in arrays.items()}),
            "array missing": ("An array is missing.", {"w": arrays["w"]}),
            "array added": ("There is one array more.", arrays | {"x": arrays["t"]}),
        },
    )
    return "A query's header and its payload, whose digest must be the header's, give the query's digest."


# ── who says so ──────────────────────────────────────────────────────────────────────────────────


def statement(v: Any) -> str:
    stated = {
        "party key": [hashed("study"), "run é", hashed("terms"), 2, hashed("key", size=40)],
        "bundle": [hashed("query"), "berlin", hashed(0), hashed(1), hashed(2)],
    }
    signer = identity_of(IDENTITIES["berlin"])
    for kind, values in stated.items():
        of = v.good(kind, kind=kind, values=values, public=signer.public, signature=signer.sign(kind, values).hex())
    signature = of["signature"]
    v.bads(
        "signature",
        of,
        {
            "altered": ("A bit is another.", flipped(signature, 40)),
            "truncated": ("A signature has 64 bytes.", signature[:-2]),
            "over long": ("A signature has 64 bytes.", signature + "00"),
            "empty": ("A signature has 64 bytes.", ""),
            "unreduced": ("The second half is below the order of the group.", _unreduced(signature)),
        },
    )
    v.bads(
        "values",
        of,
        {
            "other value": ("Another value was signed.", [hashed("other"), *of["values"][1:]]),
            "value missing": ("All values were signed.", of["values"][:-1]),
            "number as text": ("Values were signed as they were.", [*of["values"][:-1], 1]),
        },
    )
    v.bads(
        "public",
        of,
        {
            "other signer": ("Another identity signed.", public_of("graz")),
            "key cut": ("A key has 32 bytes.", signer.public[:-2]),
            "key empty": ("There is no key.", ""),
        },
    )
    v.bads("kind", of, {"other kind": ("It was signed as another kind.", "party key")})
    return "The identity `public` signed the statement; `signed` are the bytes under the signature."


def _unreduced(signature: str) -> str:
    raw = bytes.fromhex(signature)
    order = 2**252 + 27742317777372353535851937790883648493
    return (raw[:32] + (int.from_bytes(raw[32:], "little") + order).to_bytes(32, "little")).hex()


def party_key(v: Any) -> str:
    told, under = pinned(), terms_of(pinned())
    signer = identity_of(IDENTITIES["party-1"])

    def made(raw: bytes, study: str = hashed("study"), run: str = "run-1", index: int = 1) -> dict[str, str]:
        vouched = [study, run, under.digest, index, raw.hex()]
        return {"public": raw.hex(), "signature": signer.sign("party key", vouched).hex()}

    raw = party_key_of(KEYS[1]).public.raw
    right = made(raw)
    given = {"study": hashed("study"), "run": "run-1", "terms": told, "party": 1, "identity": signer.public}
    of = v.good("a party's key for a run", told=right, **given)
    signature = right["signature"]
    v.bads(
        "told",
        of,
        {
            "unknown field": ("Only key and signature travel.", right | {"more": ""}),
            "upper case": ("Bytes have one text, in lower-case digits.", right | {"signature": signature.upper()}),
            "no hex": ("Hex digits, nothing else.", right | {"signature": signature[:-1] + " "}),
            "truncated": ("A key has 1216 bytes.", made(raw[:-1])),
            "over long": ("A key has 1216 bytes.", made(raw + b"\0")),
            "coefficients out of range": ("ML-KEM coefficients are below 3329.", made(b"\xff" * 1184 + raw[1184:])),
            "low order point": ("With this X25519 point all secrets are zero.", made(raw[:1184] + LOW_ORDER[0])),
            "other low order point": ("With this X25519 point all secrets are zero.", made(raw[:1184] + LOW_ORDER[2])),
            "another run": ("It was signed for another run.", made(raw, run="run-2")),
            "another study": ("It was signed for another Study.", made(raw, study=hashed("other"))),
            "another party": ("It was signed as another party.", made(raw, index=0)),
            "signature altered": ("A bit of the signature is another.", right | {"signature": flipped(signature, 3)}),
        },
    )
    v.bads("terms", of, {"other terms": ("It was signed for other terms.", pinned(quorum=3))})
    v.bads("identity", of, {"other signer": ("Another identity signed it.", public_of("party-0"))})
    return (
        "A site takes a party's key for a run: signed by its identity, and one to which it can seal. Gives its SHA-256."
    )


def stamp(v: Any) -> str:
    parts = [bytes.fromhex(hashed("part", index, size=20)) for index in range(PARTIES)]
    signer = identity_of(IDENTITIES["berlin"])

    def made(digest: str = hashed("query"), site: str = "berlin", by: Any = signer, held: Any = parts) -> str:
        class Asked:
            pass

        asked = Asked()
        asked.digest = digest
        return bundle.sign(asked, site, held, by).hex()

    right = made()
    given = {"query": hashed("query"), "site": "berlin", "identity": signer.public, "stamp": right}
    for index in range(PARTIES):
        of = v.good(f"for party {index}", party=index, part=parts[index].hex(), **given)
    v.bads(
        "stamp",
        of,
        {
            "truncated": ("A stamp has 165 bytes.", right[:-2]),
            "over long": ("A stamp has 165 bytes.", right + "00"),
            "magic": ("A stamp begins with FGBN.", b"FGPT".hex() + right[8:]),
            "version": ("The version is 1.", flipped(right, 4, 3)),
            "other query": ("It was made for another query.", made(digest=hashed("other"))),
            "other site": ("It was made for another site.", made(site="graz")),
            "other signer": ("Another site's identity signed it.", made(by=identity_of(IDENTITIES["graz"]))),
            "parts in another order": ("The parts stand in another order.", made(held=parts[::-1])),
            "hash altered": ("A part's hash is another than was signed.", flipped(right, 5)),
            "signature altered": ("A bit of the signature is another.", flipped(right, 164, 128)),
        },
    )
    v.bads(
        "part",
        of,
        {
            "part altered": ("A bit of the part is another.", flipped(parts[2].hex(), 0)),
            "part of another party": ("The part is that of another party.", parts[0].hex()),
        },
    )
    v.bads("party", of, {"other place": ("The part is right, at another party's place.", 1)})
    return "A site's stamp vouches for the part at a party's place. Gives the part's SHA-256."


# ── shares ───────────────────────────────────────────────────────────────────────────────────────


def numbers(v: Any) -> str:
    ties = [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999999999999994, -0.0, 0.0]
    v.good("halves go to the even neighbour", numbers=[x.hex() for x in ties], scale=1.0, width=32)
    v.good("scaled, both signs", numbers=[x.hex() for x in (1.5, -0.25, 1e-9, -3.125)], scale=1024.0, width=32)
    v.good("scale below one", numbers=[x.hex() for x in (1000.0, -1001.0)], scale=2.0**-3, width=64)
    edge = 2.0**30 - 1
    v.good("edges of 32 bits", numbers=[x.hex() for x in (edge, -edge, 2.0**30 - 2**-22)], scale=1.0, width=32)
    edge = 2.0**62 - 2.0**9
    v.good("edges of 64 bits", numbers=[x.hex() for x in (edge, -edge, 2.0**53 + 2)], scale=1.0, width=64)
    of = {"numbers": [(1.0).hex()], "scale": 4.0, "width": 32}
    v.bads(
        "numbers",
        of,
        {
            "NaN": ("NaN is no number.", ["nan"]),
            "infinity": ("An infinity is no number.", ["-inf"]),
            "too large": ("Numbers are below 2^30 ring units.", [(2.0**28).hex()]),
            "too small": ("Numbers are above -2^30 ring units.", [(-(2.0**28)).hex()]),
            "overflow": ("The product overflows.", [(1.7e308).hex()]),
        },
    )
    v.bads(
        "scale",
        of,
        {"scale no power of two": ("A scale is a power of two.", 3.0), "scale zero": ("A scale is positive.", 0.0)},
    )
    v.bads("width", of, {"other width": ("A ring has 32 or 64 bits.", 16)})
    return "Numbers (hexadecimal floats) and scale give ring words, and those words read back."


def context(v: Any) -> str:
    given = {"query": hashed("query"), "attempt": 0, "site": "berlin", "party": 0}
    v.good("plain names", run="run-1", **given)
    v.good(
        "lengths count bytes of UTF-8, not letters",
        run="Wien 😀",
        **given | {"site": "größe", "attempt": 12, "party": 2},
    )
    v.good("empty run", run="", **given)
    return (
        "What ties a share to one run, query, attempt, site and party. Any names have a context: there are no bad ones."
    )


def mask(v: Any) -> str:
    given = {"context": hashed("context", size=90)}
    for width, size in itertools.product((32, 64), (1, (1 << 17) + 12, (1 << 19) + 20)):
        count = max(1, size * 8 // width)
        v.good(f"{count} words of {width} bits", seed=hashed("seed", width), width=width, count=count, **given)
    of = {"seed": hashed("seed"), "width": 32, "count": 4, **given}
    short, long = of["seed"][:-2], of["seed"] + "00"
    v.bads("seed", of, {"truncated": ("A seed has 32 bytes.", short), "over long": ("A seed has 32 bytes.", long)})
    return "Seed and context give a mask: its first 32 bytes, and the SHA-256 of all, little-endian."


def sealed_secret(v: Any) -> str:
    info, secret = hashed("info", size=50), bytes.fromhex(hashed("secret"))
    with v.seals.drawing("sealed secret"):
        right = v.seals.seal(secret, v.seals.public(KEYS[0]), bytes.fromhex(info)).hex()
        v.seals.seal(secret, v.seals.public(KEYS[1]), b"")
    of = {"key": KEYS[0], "info": info, "sealed": right}
    for number, (key, context, _, sealed) in enumerate(dict.fromkeys(v.seals.used)):
        v.good(f"secret {number}", key=key, info=context, sealed=sealed)
    point = 2 * (1120 - 32)
    v.bads(
        "sealed",
        of,
        {
            "truncated": ("A sealed secret has 1168 bytes.", right[:-2]),
            "over long": ("A sealed secret has 1168 bytes.", right + "00"),
            "empty": ("A sealed secret has 1168 bytes.", ""),
            "lattice part altered": ("A bit of the ML-KEM ciphertext is another.", flipped(right, 5)),
            "curve part altered": ("A bit of the X25519 share is another.", flipped(right, 1100)),
            "top bit of the point": ("X25519 ignores this bit; the combiner does not.", flipped(right, 1119, 128)),
            "low order point": (
                "With this X25519 share the secret is zero.",
                right[:point] + LOW_ORDER[1].hex() + right[2240:],
            ),
            "text altered": ("A bit of the sealed text is another.", flipped(right, 1130)),
            "tag altered": ("A bit of the tag is another.", flipped(right, 1167)),
        },
    )
    v.bads(
        "info",
        of,
        {
            "other context": ("It was sealed under another info.", hashed("other")),
            "no context": ("It was sealed under an info.", ""),
        },
    )
    v.bads("key", of, {"other key": ("It was sealed to another key.", KEYS[2])})
    return "A party's private key (ML-KEM-768 seed of 64 bytes, X25519 key of 32) and `info` open a sealed secret."


def sealed_vector(v: Any) -> str:
    info, chunk = hashed("vector", size=40), envelope.CHUNK_BYTES
    with v.seals.drawing("sealed vector"):
        sealed = v.seals.seal(bytes.fromhex(hashed("content")), v.seals.public(KEYS[0]), bytes.fromhex(info)).hex()
    given = {"key": KEYS[0], "info": info, "sealed": sealed}
    for width, size in ((32, 4), (64, chunk - 8), (32, chunk), (64, chunk + 8), (32, 2 * chunk + 12)):
        whole = envelope.vector_bytes(size)
        of = v.good(f"{size} bytes of {width} bits", width=width, count=size * 8 // width, spans=[[0, whole]], **given)
    start, step = envelope.SMALL_BYTES, chunk + envelope.TAG_BYTES
    key, first, second = [0, start], [start, start + step], [start + step, start + 2 * step]
    last = [start + 2 * step, whole]
    v.bads(
        "spans",
        of,
        {
            "no chunk": ("There is at least one chunk.", [key]),
            "last chunk missing": ("The last chunk, marked so, is missing.", [key, first, second]),
            "first chunk missing": ("The first chunk is missing.", [key, second, last]),
            "middle chunk missing": ("The middle chunk is missing.", [key, first, last]),
            "only the last": ("The first two chunks are missing.", [key, last]),
            "chunks swapped": ("Two chunks changed places.", [key, second, first, last]),
            "chunk repeated": ("A chunk stands twice.", [key, first, first, second, last]),
            "last chunk repeated": ("The last chunk stands twice.", [key, first, second, last, last]),
            "truncated": ("The last byte is missing.", [[0, whole - 1]]),
            "cut in a tag": ("The end is missing from within a tag on.", [[0, whole - 10]]),
            "over long": ("A byte too many.", [[0, whole], [0, 1]]),
            "secret truncated": ("The sealed content key is short of a byte.", [[0, start - 1], [start, whole]]),
        },
    )
    return (
        "A vector of the words 0, 1, 2, …, sealed under the content key that `sealed` holds: `sealed`, then its chunks. Of"
        " those bytes `spans` are put together: that is what arrives. Gives SHA-256 of what arrives and of the words."
    )


@functools.cache
def _small(width: int) -> dict[str, Any]:
    return a_query(
        mechanism=None, length=6 if width == 32 else 2, caps=None if width == 32 else [[s, 2**40] for s in SITES]
    )


def _words(made: dict[str, Any], site: str) -> Any:
    asked = query_of(made["header"], made["terms"])
    rng = np.random.default_rng(SITES.index(site))
    integers = rng.integers(-int(asked.scale), int(asked.scale), asked.question.length)
    return integers.astype(np.uint64).astype(ring.dtype_of(asked.width))


def _sealed_by(v: Any, made: dict[str, Any], site: str, keys: list[str] = KEYS) -> tuple[bytes, bytes, bytes]:
    asked = query_of(made["header"], made["terms"])
    parts: tuple[bytes, bytes, bytes] = v.seals.parts(asked, site, SITES.index(site), _words(made, site), keys)
    return parts


def part(v: Any) -> str:
    for width in (64, 32):
        made = _small(width)
        given = {name: made[name] for name in ("header", "terms")}
        parts = _sealed_by(v, made, "graz")
        of = [
            v.good(f"graz, party {i}, {width} bits", site="graz", party=i, key=KEYS[i], part=parts[i].hex(), **given)
            for i in range(PARTIES)
        ]
    for name, one in (("seed", of[0]), ("vector", of[1])):
        _bad_parts(v, name, one)
    again = asked(made, attempt=1)
    v.bads("header", of[0], {"seed of another attempt": ("It was sealed for another attempt.", again)})
    v.bads("header", of[1], {"vector of another query": ("It was sealed for another query.", asked(made, step=8))})
    v.bads("site", of[1], {"vector of another site": ("It was sealed by another site.", "berlin")})
    v.bads("site", of[0], {"seed of another site": ("It was sealed by another site.", "vienna")})
    v.bads("key", of[0], {"seed for another key": ("It was sealed to another key.", KEYS[2])})
    v.bads("part", of[0], {"seed of another party": ("It was sealed to another party.", of[2]["part"])})
    v.bads("part", of[1], {"seed where the vector is due": ("The vector is due here.", of[0]["part"])})
    v.bads("part", of[0], {"vector where a seed is due": ("A seed is due here.", of[1]["part"])})
    return "A part, under query, terms, site and party's key, gives the share: ring words."


def _bad_parts(v: Any, name: str, of: dict[str, Any]) -> None:
    right = of["part"]
    size = len(right) // 2 - bundle.HEADER.size
    wrongs = {
        "magic": ("A part begins with FGPT.", b"FGBN".hex() + right[8:]),
        "version": ("The version is 1.", flipped(right, 4, 3)),
        "kind": ("The kind is the other one.", flipped(right, 5)),
        "unknown kind": ("The kind is 0 or 1.", flipped(right, 5, 2)),
        "wrong length": ("The length is another than follows.", right[:12] + f"{size + 1:016x}" + right[28:]),
        "truncated": ("The last byte is missing.", right[:-2]),
        "shorter and says so": (
            "The length is another than the query gives.",
            right[:12] + f"{size - 1:016x}" + right[28:-2],
        ),
        "over-long": ("A byte too many.", right + "00"),
        "header alone": ("There is no body.", right[:28]),
        "altered": ("A bit of the body is another.", flipped(right, len(right) // 2 - 1)),
    }
    for label, (wrong, value) in wrongs.items():
        v.bad(f"{name}: {label}", wrong, **of | {"part": value})


# ── messages and files ───────────────────────────────────────────────────────────────────────────


def _framed(kind: Kind, header: dict[str, Any], body: bytes = b"") -> str:
    return frames.encode(Frame(kind=kind, header=header, body=body)).hex()


def _raw(header: bytes, body: bytes = b"", kind: int = Kind.PART, magic: bytes = b"FGPF", version: int = 1) -> str:
    return (frames.HEAD.pack(magic, version, kind, len(header), len(body)) + header + body).hex()


def frame(v: Any) -> str:
    pin = {"study": hashed("study"), "run": "run-1", "terms": pinned(), "roster": roster_told()}
    made = _small(32)
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
        ("REFUSED", Kind.REFUSED, {"code": "other-set", "rule": "größer"}, b""),
    ]
    for name, kind, header, body in good:
        v.good(name, frame=_framed(kind, header, body))
    right = _framed(Kind.PART, {"site": "graz", "stamp": stamp}, b"a sealed part")
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
        v.bad(label, wrong, frame=_framed(kind, fields))
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


def opening(v: Any) -> str:
    made = _small(32)
    given = {name: made[name] for name in ("header", "terms")}
    query, sites = query_of(**given), list(SITES)
    totals = np.zeros((PARTIES, query.question.length), np.uint32)
    for index, site in enumerate(SITES):
        parts = _sealed_by(v, made, site)
        for i, sealed in enumerate(parts):
            bundle.add_part(query, site, index, i, party_key_of(KEYS[i]), sealed, totals[i])

    def replies(words: Any = totals, of: Any = sites, digest: str = query.digest) -> list[str]:
        told = {"query": digest, "set": party.set_digest(query.digest, of)}
        return [_framed(Kind.WORDS, told, one.tobytes()) for one in words]

    right = replies()
    of = v.good("three sites, exact", sites=sites, replies=right, **given)
    wide = _small(64)
    far = query_of(wide["header"], wide["terms"])
    told = {"query": far.digest, "set": party.set_digest(far.digest, ["graz"])}
    shares = [[2**64 - 5, 7], [2, 2**63], [0, 2**63 - 8]]
    v.good(
        "64 bits",
        sites=["graz"],
        replies=[_framed(Kind.WORDS, told, np.array(one, "<u8").tobytes()) for one in shares],
        header=wide["header"],
        terms=wide["terms"],
    )
    beyond = totals.copy()
    beyond[0, 0] += np.uint32(2**31)
    v.bads(
        "replies",
        of,
        {
            "beyond the limit": ("No honest sum is so large.", replies(beyond)),
            "other set": ("A party opened another set.", [*right[:2], replies(of=sites[:2])[2]]),
            "other query": ("A party opened another query.", [replies(digest=hashed("x"))[0], *right[1:]]),
            "one refused": ("A party refused.", [*right[:2], _framed(Kind.REFUSED, {"code": "other-set", "rule": ""})]),
        },
    )
    v.bads("sites", of, {"sites unsorted": ("A set's digest is over the sorted names.", sites[::-1])})
    return (
        "Three parties' replies to REVEAL of `sites` give the sum: integers of the ring, numbers as hexadecimal floats."
    )


def answers(v: Any) -> str:
    kept = [(f'["run-1","cvae",{step},0]', hashed(step), hashed("body", step, size=40 - 9 * step)) for step in range(3)]

    def file(count: int) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / party.ANSWERS
            with Once(path) as once:
                for key, digest, body in kept[:count]:
                    once.record(key, digest, [bytes.fromhex(body)])
            return path.read_bytes().rstrip(b"\0").hex()

    for count in range(4):
        of = {"file": file(count)}
        v.good(f"{count} answers", **of)
    right = of["file"]
    size = len(right) // 2
    second = len(file(1)) // 2 - 40  # where the body of the first answer began
    v.good("body damaged: its attempt stays spent", file=flipped(right, size - 1))
    v.good("body cut: its attempt stays spent", file=right[:-4])
    v.good("a record damaged: it and all after it were never there", file=flipped(right, second + 60))
    v.good("a record of another file: its check does not follow", file=file(1)[: 2 * second] + right[4 * second :])
    v.good("a record cut in its check", file=right[: 2 * (second + 100)])
    v.good("the zeros of a file that a crash left", file="00" * 20)
    v.bads(
        "file",
        of,
        {
            "magic": ("A file of answers begins with FGON.", b"FGPF".hex() + right[8:]),
            "version": ("Another version must not pass for an empty file.", flipped(right, 4, 3)),
            "truncated mark": ("Neither a record nor zeros.", right[:8]),
            "text": ("It is another file.", b"something that somebody wants to keep".hex()),
        },
    )
    return (
        "A file `answers` (zeros at its end left out) gives what was answered, the last answer, and its body if whole."
    )


def call(v: Any) -> str:
    array = {
        "dtype": "<f4",
        "shape": [2, 2],
        "stype": "fedgenome.raw",
        "data": np.arange(4, dtype="<f4").tobytes().hex(),
    }
    raw = {"dtype": "|u1", "shape": [3], "stype": "fedgenome.raw", "data": "00ff07"}
    v.good("hello", json="{}", arrays={})
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
    return "A call's two records, `header` and `arrays`, give its header and arrays as lists. The JSON need not be canonical."


# ── parties and dealer among themselves ──────────────────────────────────────────────────────────


def hello(v: Any) -> str:
    roles = ("party-0", "party-1", "party-2", "dealer")
    meeting = Meeting(session="run-1", identities=tuple(map(public_of, roles)), addresses=("/a", "/b", "/c"))
    certificate = b"a certificate in DER"

    def made(rank: int, told: Any = None, by: Any = None, at: Meeting = meeting, point: bytes | None = None) -> str:
        public = point or x25519_public(hashed("exchange", rank))
        signer = identity_of(IDENTITIES[by or roles[rank]])
        signature = signer.key.sign(_signed(at, rank, public, certificate))
        shown = public + signature + certificate
        return (links.HELLO.pack(b"FGTL", 1, rank if told is None else told, len(shown)) + shown).hex()

    given = {"session": meeting.session, "identities": list(meeting.identities), "exchange": hashed("own"), "rank": 0}
    for rank in (1, 2, 3):
        of = v.good(f"from {roles[rank]}", hello=made(rank), **given)
    right = of["hello"]
    other = Meeting(session="run-2", identities=meeting.identities, addresses=meeting.addresses)
    v.bads(
        "hello",
        of,
        {
            "magic": ("A greeting begins with FGTL.", b"FGLF".hex() + right[8:]),
            "version": ("The version is 1.", flipped(right, 4, 3)),
            "own rank": ("Callers have a higher rank.", made(0)),
            "rank 4": ("There is no such role.", made(3, told=4)),
            "other rank": ("It was signed as another role.", made(3, told=1)),
            "head truncated": ("A greeting has a head of 8 bytes.", right[:14]),
            "truncated": ("The last byte is missing.", right[:-2]),
            "longer than it says": (
                "Bytes are missing from what was signed.",
                right[:12] + f"{len(right) // 2 - 9:04x}" + right[16:],
            ),
            "pass too long": ("A pass has at most 2048 bytes.", right[:12] + "0801" + right[16:]),
            "pass empty": ("There is no pass.", right[:12] + "0000"),
            "other signer": ("Another identity signed it.", made(3, by="party-1")),
            "other session": ("It was signed for another session.", made(3, at=other)),
            "signature altered": ("A bit of the signature is another.", flipped(right, 50)),
            "certificate altered": ("A bit of the certificate is another.", flipped(right, len(right) // 2 - 1)),
            "low order point": ("With this X25519 point all secrets are zero.", made(3, point=LOW_ORDER[0])),
        },
    )
    return (
        "A greeting, at the role `rank` with the X25519 key `exchange` for the session, gives who calls, its certificate,"
        " the pair's secret, and the key of its stream `tuples`."
    )


def x25519_public(private: str) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(bytes.fromhex(private)).public_key().public_bytes_raw()


def link_frame(v: Any) -> str:
    request = dealer.REQUEST.pack(dealer.Function.AND, 5)
    bodies = {
        links.Kind.WELCOME: b"",
        links.Kind.AGREE: bytes.fromhex(hashed("set")),
        links.Kind.WORDS: bytes(range(16)),
        links.Kind.REQUEST: request,
        links.Kind.TUPLE: bytes(range(8)),
    }

    def made(kind: int, number: int, body: bytes, magic: bytes = b"FGLF", version: int = 1) -> str:
        return (links.HEAD.pack(magic, version, kind, number, len(body)) + body).hex()

    for kind in links.Kind:
        body = bodies.get(kind, b"\0" * 8)
        number = 0 if kind is links.Kind.WELCOME else 300
        v.good(kind.name, kind=kind.name, number=number, body_bytes=len(body), frame=made(kind, number, body))
    body = bodies[links.Kind.WORDS]
    of = {"kind": "WORDS", "number": 300, "body_bytes": 16, "frame": made(links.Kind.WORDS, 300, body)}
    v.bads(
        "frame",
        of,
        {
            "magic": ("A frame of a link begins with FGLF.", made(3, 300, body, magic=b"FGPF")),
            "version": ("The version is 1.", made(3, 300, body, version=2)),
            "other kind": ("Another kind is due.", made(5, 300, body)),
            "unknown kind": ("There is no such kind.", made(99, 300, body)),
            "repeated": ("A later number is due.", made(3, 299, body)),
            "skipped": ("An earlier number is due.", made(3, 301, body)),
            "shorter": ("A longer body is due.", made(3, 300, body[:8])),
            "longer": ("A shorter body is due.", made(3, 300, body + body)),
            "truncated": ("The last byte is missing.", of["frame"][:-2]),
            "over long": ("A byte follows that begins no frame that is due.", of["frame"] + "00"),
            "empty": ("The peer left.", ""),
        },
    )
    return "A frame between parties and dealer arrives where this kind, number and length are due; gives its body."


def tuple_request(v: Any) -> str:
    for function in dealer.Function:
        v.good(function.name, request=dealer.REQUEST.pack(function, 1000).hex())
    v.good("most", request=dealer.REQUEST.pack(1, dealer.MOST).hex())
    wrongs = {
        "function 0": ("There is no such function.", struct.pack(">BQ", 0, 1)),
        "function 4": ("There is no such function.", struct.pack(">BQ", max(dealer.Function) + 1, 1)),
        "no tuples": ("At least one tuple.", struct.pack(">BQ", 1, 0)),
        "too many": ("At most 2^26 tuples.", struct.pack(">BQ", 1, dealer.MOST + 1)),
        "little-endian": ("Counts are big-endian.", struct.pack("<BQ", 1, 5)),
    }
    for label, (wrong, raw) in wrongs.items():
        v.bad(label, wrong, request=raw.hex())
    return "Party 0's request to the dealer gives the function and how many tuples."
