"""Who takes part in the vectors, and what they are made of: everything follows from labels."""

import functools
import hashlib
import itertools
import json
from typing import Any

import numpy as np

from fedgenome.query import PARTIES, Mechanism, Query, Question, Roster, choose_scale
from fedgenome.secure import frames, ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.study import Plan
from tests.vectors.library import identity_of, query_of, terms_of

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


ROSTER = Roster(
    sites=tuple((site, 100, public_of(site)) for site in SITES),
    parties=tuple(public_of(f"party-{index}") for index in range(PARTIES)),
    dealer=public_of("dealer"),
)
STUDY = {
    "name": "example",
    "schema": {
        **{"genes": ["CD3D", "NKG7"], "labels": ["B", "T"], "low": 0.0, "high": 6.5, "unit": "donor"},
        **{"panel": "a list of 2 genes", "fill": None, "lacking": 0.1, "batch": "none", "rows_per_donor": 50},
        "tokens": None,
        "dosages": False,
    },
    "methods": [{"kind": "marginals", "name": None, "noise": 1.0, "options": {"bins": 8, "why": "größer"}}],
    "privacy": {"trust": "distributed", "epsilon": 3.0, "delta": 1e-05, "colluders": 1, "retries": 0.05},
    "donors_bound": 300,
    "quorum": 2,
    "roster": [{"name": name, "cap": cap, "key": key} for name, cap, key in ROSTER.sites],
    "parties": list(ROSTER.parties),
    "dealer": ROSTER.dealer,
    "secure": "on",
    "holdout": None,
    "sanitize": None,
}
NOISE = {"kind": "gaussian", "level": 0.8, "sampling": 0.1, "count": 1, "where": "parties", "scope": "cvae"}
NOISE |= {"winners": 1}
CHOICE = NOISE | {"kind": "exponential", "level": 0.5, "sampling": 1.0, "winners": 3}
PLAN = {"mechanisms": [NOISE | {"count": 210}, CHOICE | {"count": 2}]}


def pinned(**changes: Any) -> dict[str, Any]:
    """Return terms as PIN carries them."""
    terms = {"caps": [list(cap) for cap in ROSTER.caps], "colluders": 1, "quorum": 2, "roster": ROSTER.digest}
    return terms | {"plan": Plan.model_validate(PLAN).digest} | changes


def roster_told(**changes: Any) -> dict[str, Any]:
    """Return the roster as PIN carries it."""
    told = {"sites": [list(site) for site in ROSTER.sites], "parties": list(ROSTER.parties), "dealer": ROSTER.dealer}
    return told | changes


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


_QUESTION = ("reply_length", "unit", "precision", "reduce", "monotone", "payload")


def a_query(
    *, mechanism: Any = NOISE, caps: Any = None, colluders: int = 1, length: int = 6, bound: float = 1.0, **changes: Any
) -> dict[str, Any]:
    """Return header, terms, Study digest and run of a query; ``changes`` are fields of question or query."""
    changes = {"reply_length": length} | changes
    told = pinned(colluders=colluders) | ({"caps": caps} if caps else {})
    asked = {name: changes.pop(name) for name in _QUESTION if name in changes}
    made = Mechanism(**mechanism) if mechanism else None
    question = Question(**{"payload": {}} | asked, length=length, bound=bound, mechanism=made)
    when = {"study": hashed("study"), "run": "run-1", "method": "cvae", "step": 7, "attempt": 0} | changes
    under = terms_of(told)
    query = Query(question=question, terms=under, scale=choose_scale(question, under), **when)
    return {"header": query.header(), "terms": told, "study": query.study, "run": query.run}


def a_selection(**changes: Any) -> dict[str, Any]:
    """Return :func:`a_query` of a selection: 3 of 40 scores, unless ``changes`` say otherwise."""
    return a_query(**{"reduce": "select", "mechanism": CHOICE, "length": 40, "reply_length": 3} | changes)


def asked(of: dict[str, Any], question: Any = None, mechanism: Any = None, **changes: Any) -> dict[str, Any]:
    """Return the header of ``of`` with some fields changed."""
    header = of["header"] | changes
    old = header["question"] | (question or {})
    return header | {"question": old | ({"mechanism": old["mechanism"] | mechanism} if mechanism else {})}


@functools.cache
def small(width: int) -> dict[str, Any]:
    return a_query(
        mechanism=None, length=6 if width == 32 else 2, caps=None if width == 32 else [[s, 2**40] for s in SITES]
    )


def words_of(made: dict[str, Any], site: str) -> Any:
    asked = query_of(made["header"], made["terms"])
    rng = np.random.default_rng(SITES.index(site))
    integers = rng.integers(-int(asked.scale), int(asked.scale), asked.question.length)
    return integers.astype(np.uint64).astype(ring.dtype_of(asked.width))


def sealed_by(v: Any, made: dict[str, Any], site: str, keys: list[str] = KEYS) -> tuple[bytes, bytes, bytes]:
    asked = query_of(made["header"], made["terms"])
    parts: tuple[bytes, bytes, bytes] = v.seals.parts(asked, site, SITES.index(site), words_of(made, site), keys)
    return parts


def framed(kind: Kind, header: dict[str, Any], body: bytes = b"") -> str:
    return frames.encode(Frame(kind=kind, header=header, body=body)).hex()
