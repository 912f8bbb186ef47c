"""Vectors of queries; each function returns what its vectors mean."""

from typing import Any

import numpy as np

from tests.vectors.cases.roles import CHOICE, NOISE, a_query, a_selection, asked, flipped, hashed, pinned
from tests.vectors.library import terms_of


def query(v: Any) -> str:
    five, fifty = [[f"s{i}", 400] for i in range(5)], [[f"s{i}", 20000] for i in range(50)]
    big = [["huge", 2**40], ["small", 1]]
    of = v.good("a round of gradients, five sites", **a_query(length=9410, precision="float32", caps=five))
    v.good("the same at fifty sites of 20,000: 64 bits", **a_query(length=9410, precision="float32", caps=fifty))
    v.good(
        "the same at forty sites: a coarser scale",
        **a_query(length=9410, precision="float32", caps=[[f"s{i}", 400] for i in range(40)]),
    )
    v.good("float64, all donors, two colluders", **a_query(mechanism=NOISE | {"sampling": 1.0}, colluders=2))
    v.good(
        "float32, all donors, no colluders",
        **a_query(mechanism=NOISE | {"sampling": 1.0}, precision="float32", colluders=0),
    )
    v.good("sums of 128 in float32", **a_query(length=9410, precision="float32x128", caps=five))
    v.good("no noise", **a_query(mechanism=None))
    v.good("no noise, 64 bits", **a_query(mechanism=None, caps=big, length=1))
    v.good("each site bounded", **a_query(unit="site", mechanism=None, caps=big))
    v.good("small bound, a resumed attempt", **a_query(bound=0.001, attempt=3))
    v.good("bound that is no power of two", **a_query(bound=0.3, length=77, run="run ö", method="marginals"))
    _other_questions(v, of)
    _broken_fields(v, of)
    _at_home(v, five, fifty)
    _selections(v, big)
    return (
        "A query's header, and the terms, Study digest and run that a party pinned, give the digest, the ring's width,"
        " and Δ, σ, a party's σ, a site's σ and the limit as hexadecimal floats; of a selection with noise also what"
        " the parties select by, and the rate of each one's noise as a fraction."
    )


def _other_questions(v: Any, of: dict[str, Any]) -> None:
    """Headers that ask something else than was agreed, or lack their shape."""
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
        },
    )


def _broken_fields(v: Any, of: dict[str, Any]) -> None:
    """Words, mechanisms and combinations that there are none of."""
    v.bads(
        "header",
        of,
        {
            "unknown precision": ("Precision is float64, float32 or float32x128.", asked(of, {"precision": "float16"})),
            "unknown unit": ("A unit is donor or site.", asked(of, {"unit": "row"})),
            "unknown reduction": ("Reduce is sum or select.", asked(of, {"reduce": "max"})),
            "level zero": ("A level is positive.", asked(of, mechanism={"level": 0.0})),
            "rate zero": ("A rate is positive.", asked(of, mechanism={"sampling": 0.0})),
            "rate above one": ("A rate is at most 1.", asked(of, mechanism={"sampling": 1.5})),
            "count zero": ("A count is at least 1.", asked(of, mechanism={"count": 0})),
            "unknown mechanism": ("A mechanism is gaussian or exponential.", asked(of, mechanism={"kind": "laplace"})),
            "too little noise": ("A party's noise is at least 4 ring units.", asked(of, mechanism={"level": 1e-07})),
            "mechanism empty": ("A mechanism is whole or null.", asked(of, {"mechanism": {}})),
            "level as an integer": ("A level is written as a float.", asked(of, mechanism={"level": 1})),
            "count of truth": ("A count is an integer, not true.", asked(of, mechanism={"count": True})),
            "scope as a number": ("A scope is text.", asked(of, mechanism={"scope": 1})),
            "winners missing": ("A mechanism has all its fields.", _without(of, "mechanism", "winners")),
            "where missing": ("A mechanism has all its fields.", _without(of, "mechanism", "where")),
            "unit missing": ("A question has all its fields.", _without(of, "question", "unit")),
            "monotone missing": ("A question has all its fields.", _without(of, "question", "monotone")),
            "monotone sum": ("Only scores are monotone.", asked(of, {"monotone": True})),
            "exponential sum": ("A sum has Gaussian noise.", asked(of, mechanism={"kind": "exponential"})),
            "sum with winners": ("A sum has no winners but 1.", asked(of, mechanism={"winners": 2})),
            "noise elsewhere": ("Noise is added by parties or at home.", asked(of, mechanism={"where": "cloud"})),
        },
    )


def _without(of: dict[str, Any], record: str, field: str) -> dict[str, Any]:
    header: dict[str, Any] = of["header"]
    old = header["question"] if record == "question" else header["question"]["mechanism"]
    rest = {name: x for name, x in old.items() if name != field}
    return asked(of, rest) | {"question": rest} if record == "question" else asked(of, {"mechanism": rest})


def _at_home(v: Any, five: Any, fifty: Any) -> None:
    """Trust models local and site."""
    home = NOISE | {"where": "home"}
    of = v.good("noise at home, 32 bits", **a_query(mechanism=home, caps=five, length=9410, precision="float32"))
    v.good("noise at home, 64 bits, no colluders", **a_query(mechanism=home, caps=fifty, colluders=0, length=9410))
    local = a_query(mechanism=home | {"count": 5}, unit="site", caps=five, length=9410)
    v.good("local training: five steps, noised one by one", **local)
    v.good("noise by the parties, each site bounded", **a_query(unit="site", mechanism=NOISE | {"sampling": 1.0}))
    v.bads(
        "header",
        of,
        {
            "too little noise at home": (
                "A site's noise is at least 4 ring units.",
                asked(of, mechanism={"level": 1e-7}),
            ),
            "scale of noise by the parties": (
                "Noise at home needs more room.",
                asked(of, scale=of["header"]["scale"] * 2),
            ),
        },
    )


def _selections(v: Any, big: Any) -> None:
    """What parties and dealer select by."""
    of = v.good("a selection: 3 of 40 scores", **a_selection())
    v.good("a selection of scores that only rise", **a_selection(monotone=True))
    v.good("scores of a broken bound", **a_selection(bound=0.375, colluders=2))
    v.good("scores of the finest bound", **a_selection(bound=2.0**-20))
    v.good("scores of a large bound", **a_selection(bound=1000.0, precision="float32"))
    v.good("a selection, 64 bits", **a_selection(caps=big))
    v.good("a selection of a rate beyond floats' tenths", **a_selection(mechanism=CHOICE | {"level": 0.1}, bound=3.0))
    v.good("a selection over sites", **a_selection(unit="site", caps=big))
    v.good("a selection without noise", **a_selection(mechanism=None, caps=big))
    v.good("as many winners as scores", **a_selection(length=3))
    most = {"length": 2**20, "reply_length": 64}
    v.good("most scores, most draws", **a_selection(mechanism=CHOICE | {"winners": 64}, **most))
    v.bads(
        "header",
        of,
        {
            "Gaussian selection": ("A selection has exponential noise.", asked(of, mechanism=NOISE)),
            "selection at home": ("Parties noise scores.", asked(of, mechanism={"where": "home"})),
            "more winners than are paid": ("k winners cost k times ε.", asked(of, {"reply_length": 4})),
            "fewer winners than are paid": ("k winners cost k times ε.", asked(of, {"reply_length": 2})),
            "no winners": ("A selection has a winner.", asked(of, {"reply_length": 0}, {"winners": 0})),
            "more winners than scores": ("Each score wins once.", asked(of, {"reply_length": 41}, {"winners": 41})),
            "too many scores": ("At most 2^20 scores.", asked(of, {"length": 2**20 + 1})),
            "too many draws": (
                "At most 2^26 draws.",
                asked(of, {"length": 2**20, "reply_length": 65}, {"winners": 65}),
            ),
            "bound between the finest": (
                "A bound is a multiple of 2^-20.",
                asked(of, {"bound": 0.5 + 2.0**-21}, scale=2.0**21),
            ),
            "bound below the finest": (
                "A bound is a multiple of 2^-20.",
                asked(of, {"bound": 2.0**-21}, scale=2.0**21),
            ),
            "finer scale than scores need": ("The scale is the least.", asked(of, scale=2.0)),
            "coarser scale than scores need": ("Scores are whole.", asked(of, {"bound": 0.375}, scale=4.0)),
            "sums of scores beyond 2^53": ("Sums of scores are up to 2^53.", asked(of, {"bound": 2.0**46})),
            "scores beyond 62 bits": ("The limit is below 2^62.", asked(of, mechanism={"level": 1e-18})),
            "level of truth": ("A level is a float.", asked(of, mechanism={"level": True})),
            "winners as a float": ("Winners are an integer.", asked(of, mechanism={"winners": 3.0})),
        },
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
