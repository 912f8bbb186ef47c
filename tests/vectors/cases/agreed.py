"""Vectors of what all sides pin, and of queries; each function returns what its vectors mean."""

from dataclasses import asdict
from typing import Any

from tests.vectors.cases.roles import (
    CHOICE,
    NOISE,
    PLAN,
    ROSTER,
    SITES,
    STUDY,
    a_query,
    a_selection,
    canonical,
    hashed,
    pinned,
    public_of,
    roster_told,
)
from tests.vectors.library import query_of


def digest(v: Any) -> str:
    values = {
        "study": STUDY,
        "plan": PLAN,
        "roster": [ROSTER.sites, ROSTER.parties, ROSTER.dealer],
        "roster file": [["site", "berlin", public_of("berlin")], ["party", "party-0", public_of("party-0")]],
        "node list": [["berlin", "site", 400, "ecdsa-sha2-nistp384 AAAA"]],
        "terms": [ROSTER.caps, 1, 2, ROSTER.digest, hashed("plan")],
        "payload": [["w", "<f4", [2, 3], hashed("array")]],
        "query": [a_query()["header"], [32, (131193.0).hex(), (104954.5).hex()]],
        "set": [hashed("query"), list(SITES)],
        "session": [hashed("study"), "run-1", hashed("terms")],
        "meeting": [hashed("session"), [*ROSTER.parties, ROSTER.dealer]],
        "select": [hashed("set"), 32, _selection(a_selection())],
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


def _selection(made: dict[str, Any]) -> dict[str, Any]:
    chosen = query_of(made["header"], made["terms"]).selection
    return asdict(chosen) if chosen else {}


def study(v: Any) -> str:
    of = v.good("three sites, a dealer", study=STUDY, plan=PLAN)
    keyless = [entry | {"key": ""} for entry in STUDY["roster"]]
    open_ = STUDY["privacy"] | {"trust": "none", "epsilon": None, "delta": None}
    v.good(
        "no keys, no privacy, an empty plan",
        study=STUDY | {"roster": keyless, "parties": [], "dealer": "", "privacy": open_, "secure": "off"},
        plan={"mechanisms": []},
    )
    home = {"mechanisms": [NOISE | {"where": "home", "count": 60}]}
    local, site_ = (STUDY["privacy"] | {"trust": trust} for trust in ("local", "site"))
    v.good("noise at home", study=STUDY | {"privacy": local}, plan=home)
    v.good("noise at home, plain sums", study=STUDY | {"privacy": local, "secure": "off"}, plan=home)
    v.good("donors held back", study=STUDY | {"holdout": {"share": 0.25, "canaries": 40}}, plan=PLAN)
    noised = {"kind": "metric", "keep": 2, "basis": "dct", "epsilon": None, "labels_epsilon": 2.0}
    v.good("rows sanitized", study=STUDY | {"sanitize": noised}, plan=PLAN)
    v.good("each site bounded", study=STUDY | {"privacy": site_}, plan={"mechanisms": [NOISE | {"sampling": 1.0}]})
    coded = v.good("tokens of sequences", study=coded_study(), plan={"mechanisms": []})
    _bad_studies(v, of)
    _bad_tokens(v, coded)
    _bad_plans(v, of)
    return "The Study and plan of a join, all fields spelled out, give the digests of Study, plan, roster and terms."


def _bad_studies(v: Any, of: dict[str, Any]) -> None:
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
            "local without epsilon": (
                "Trust local has an epsilon.",
                STUDY | {"privacy": STUDY["privacy"] | {"trust": "local", "epsilon": None, "delta": None}},
            ),
            "unknown trust model": (
                "Trust is distributed, local, site or none.",
                STUDY | {"privacy": STUDY["privacy"] | {"trust": "central"}},
            ),
            "everybody held back": ("At most .9 of the donors.", STUDY | {"holdout": {"share": 1.0, "canaries": 0}}),
            "open under distributed": ("secure off needs trust local or none.", STUDY | {"secure": "off"}),
            "open under site": (
                "secure off needs trust local or none.",
                STUDY | {"secure": "off", "privacy": STUDY["privacy"] | {"trust": "site"}},
            ),
        },
    )


def coded_study(**changes: Any) -> dict[str, Any]:
    """Return a Study about windows of two tokens of two letters each."""
    codes = {"genes": ["p0001", "p0002"], "high": 16.0, "tokens": {"letters": "ACGT", "k": 2}}
    open_ = STUDY["privacy"] | {"trust": "none", "epsilon": None, "delta": None}
    keyless = {"roster": [STUDY["roster"][0] | {"key": ""}], "quorum": 1, "parties": [], "dealer": "", "secure": "off"}
    return STUDY | keyless | {"privacy": open_, "schema": STUDY["schema"] | codes | changes}


def _bad_tokens(v: Any, of: dict[str, Any]) -> None:
    v.bads(
        "study",
        of,
        {
            "letter twice": ("A letter stands once.", coded_study(tokens={"letters": "ACGA", "k": 2})),
            "tokens without end": (
                "There are fewer than 2^16 tokens.",
                coded_study(tokens={"letters": "ACGT", "k": 8}),
            ),
            "range of expression": ("The range of codes is from 0 to V.", coded_study(high=6.5)),
        },
    )


def _bad_plans(v: Any, of: dict[str, Any]) -> None:
    v.bads(
        "plan",
        of,
        {
            "plan with an unknown field": ("A plan has no other fields.", PLAN | {"more": 1}),
            "level zero": ("A level is positive.", {"mechanisms": [NOISE | {"level": 0.0}]}),
            "rate above one": ("A sampling rate is at most 1.", {"mechanisms": [NOISE | {"sampling": 1.5}]}),
            "unknown kind": ("A mechanism is gaussian or exponential.", {"mechanisms": [NOISE | {"kind": "laplace"}]}),
            "noise elsewhere": ("Noise is added by parties or at home.", {"mechanisms": [NOISE | {"where": "cloud"}]}),
            "sum with winners": ("A sum has no winners but 1.", {"mechanisms": [NOISE | {"winners": 2}]}),
            "no winners": ("A selection has a winner.", {"mechanisms": [CHOICE | {"winners": 0}]}),
            "too many winners": ("At most 2^20 winners.", {"mechanisms": [CHOICE | {"winners": 2**20 + 1}]}),
        },
    )


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
