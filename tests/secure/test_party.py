"""A party as a state machine, in process: what it adds, what it refuses, and in which order."""

import json
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from multiprocessing import Pipe

import numpy as np
import pytest

from fedgenome.query import PARTIES
from fedgenome.secure import frames, party_process, ring
from fedgenome.secure.frames import HEAD, MAGIC, Frame, Kind
from fedgenome.secure.party import set_digest
from tests.secure import roles
from tests.secure.roles import (
    NOISE,
    PARTY_IDS,
    PUBLICS,
    ROSTER,
    TERMS,
    a_query,
    a_selection,
    answer_of,
    begin,
    code_of,
    deliver,
    give,
    pinned,
    plain,
    reveal,
    tell,
    words_of,
)


@pytest.fixture
def a_party(tmp_path):
    """Build parties; each has a memory of its own."""
    made = []

    def build(index=0, seed=None):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(roles.a_party(folder, index, seed))
        return made[-1]

    yield build
    for one in made:
        one._once.close()


@pytest.fixture
def begun(a_party):
    """Build parties with an open query."""

    def build(query, index=0, seed=None):
        party = a_party(index, seed)
        assert pinned(party).kind is Kind.OK
        assert begin(party, query).header == {"query": query.digest}
        return party

    return build


@pytest.fixture
def opened(begun):
    """Open queries at three parties."""

    def build(query, seed, sites=("a", "b")):
        trio = [begun(query, index, seed) for index in range(PARTIES)]
        for site in sites:
            for index, one in enumerate(trio):
                assert deliver(one, query, site, index).kind is Kind.OK
        shares = [words_of(reveal(one, query, sorted(sites)), query) for one in trio]
        return ring.signed(shares[0] + shares[1] + shares[2])

    return build


def test_parties_words_add_up_to_the_sum(opened):
    assert (opened(a_query(), seed=None) == 2).all()


def test_parties_add_no_noise_to_vectors_that_were_noised_at_home(opened):
    assert (opened(a_query(mechanism=replace(NOISE, where="home")), seed=None) == 2).all()


def test_party_told_that_sites_noise_at_home_counts_no_part_of_a_site_told_otherwise(begun):
    one = begun(a_query(mechanism=replace(NOISE, where="home")))
    assert code_of(deliver(one, a_query(mechanism=NOISE), "a", 0)) == "bad-stamp"


def test_seeded_noise_depends_on_step_and_attempt_only_and_not_on_run_or_study(opened, a_party):
    query = a_query(mechanism=NOISE)
    first = opened(query, seed=7)
    assert (first == opened(query, seed=7)).all()
    assert (first != opened(query, seed=8)).any()
    assert (first != opened(replace(query, step=1), seed=7)).any()
    assert (first != opened(replace(query, attempt=1), seed=7)).any()
    assert (party_noise(a_party, "r") == party_noise(a_party, "other")).all()


def party_noise(a_party, run):
    query = a_query(mechanism=NOISE, run=run)
    one = a_party(0, seed=7)
    pinned(one, run=run)
    begin(one, query)
    one._add_noise(one._open)
    return one._open.total


def test_unseeded_noise_differs_between_runs(opened):
    query = a_query(mechanism=NOISE)
    assert (opened(query, seed=None) != opened(query, seed=None)).any()


def test_unseeded_noise_is_never_used_for_two_queries_of_one_attempt(a_party):
    # Aborted, then asked otherwise: the same noise under another question would cancel in a difference.
    one = a_party()
    pinned(one)
    drawn = []
    for query in (a_query(mechanism=NOISE), a_query(mechanism=NOISE, payload_digest="other")):
        assert begin(one, query).kind is Kind.OK
        one._add_noise(one._open)
        drawn.append(one._open.total)
        tell(one, Kind.ABORT)
    assert (drawn[0] != drawn[1]).any()


def test_reveal_names_query_and_included_set(begun):
    query = a_query()
    one = begun(query)
    for site in ("b", "a"):
        deliver(one, query, site)
    reply = reveal(one, query, ["a", "b"])
    assert reply.header == {"query": query.digest, "set": set_digest(query.digest, ["a", "b"])}
    assert set_digest(query.digest, ["a", "b"]) != set_digest(query.digest, ["a", "c"])


def test_aborted_query_leaves_nothing_in_the_next(begun):
    first, second = a_query(), a_query(step=1)
    trio = [begun(first, index) for index in range(PARTIES)]
    for index, one in enumerate(trio):
        deliver(one, first, "a", index)
        assert tell(one, Kind.ABORT).kind is Kind.OK
        assert begin(one, second).kind is Kind.OK
    shares = []
    for index, one in enumerate(trio):
        for site in ("b", "c"):
            deliver(one, second, site, index)
        shares.append(words_of(reveal(one, second, ["b", "c"]), second))
    assert (ring.signed(sum(shares)) == 2).all()


def test_pinning_the_same_again_is_harmless_and_other_terms_are_refused(a_party):
    one = a_party()
    first = pinned(one)
    assert first.header["terms"] == TERMS.digest and first.header["public"] == PUBLICS[0].to_bytes().hex()
    assert pinned(one).header == first.header
    assert code_of(pinned(one, replace(TERMS, quorum=1))) == "pinned-before"
    assert code_of(pinned(one, study="other")) == "pinned-before"
    assert code_of(pinned(one, run="other")) == "pinned-before"


TERMS_TOLD = {"caps": [["a", 1]], "colluders": 0, "quorum": 1, "roster": "r", "plan": "p"}
BAD_TERMS = {
    "key missing": {"caps": [["a", 1]]},
    "cap a string": TERMS_TOLD | {"caps": [["a", "1"]]},
    "cap a bool": TERMS_TOLD | {"caps": [["a", True]]},
    "cap zero": TERMS_TOLD | {"caps": [["a", 0]]},
    "site twice": TERMS_TOLD | {"caps": [["a", 1], ["a", 2]]},
    "three colluders": TERMS_TOLD | {"colluders": 3},
    "quorum beyond sites": TERMS_TOLD | {"quorum": 2},
    "quorum a string": TERMS_TOLD | {"quorum": "1"},
    "digest told": TERMS_TOLD | {"digest": "x"},
}


@pytest.mark.parametrize("name", BAD_TERMS)
def test_bad_terms_are_malformed(name, a_party):
    one = a_party()
    told = {"terms": BAD_TERMS[name], "roster": plain(ROSTER)}
    assert code_of(tell(one, Kind.PIN, study="s", run="r", **told)) == "malformed"
    assert pinned(one).kind is Kind.OK


HEADER = a_query(mechanism=NOISE).header()
SELECT = a_selection()
ASKED = HEADER["question"]
BAD_QUERIES = {
    "other study": (HEADER | {"study": "x"}, "other-study"),
    "other run": (HEADER | {"run": "x"}, "other-study"),
    "other terms": (HEADER | {"terms": "x"}, "malformed"),
    "field missing": ({name: value for name, value in HEADER.items() if name != "step"}, "malformed"),
    "step a string": (HEADER | {"step": "0"}, "malformed"),
    "attempt a bool": (HEADER | {"attempt": False}, "malformed"),
    "half the scale": (HEADER | {"scale": HEADER["scale"] / 2}, "wrong-scale"),
    "negative scale": (HEADER | {"scale": -HEADER["scale"]}, "malformed"),
    "no scale": (HEADER | {"scale": 0.0}, "malformed"),
    "question a list": (HEADER | {"question": []}, "malformed"),
    "question unknown key": (HEADER | {"question": ASKED | {"sigma": 0}}, "malformed"),
    "length a float": (HEADER | {"question": ASKED | {"length": 40.0}}, "malformed"),
    "length beyond a frame": (a_query(length=10**9).header(), "unsupported"),
    "length beyond all": (HEADER | {"question": ASKED | {"length": 10**400}}, "malformed"),
    "a selection of Gaussian noise": (HEADER | {"question": ASKED | {"reduce": "select"}}, "malformed"),
    "a selection without a dealer": (SELECT.header(), "unsupported"),
    "a selection at another scale": (SELECT.header() | {"scale": 2.0}, "wrong-scale"),
    "a selection of all scores at the price of one": (
        SELECT.header() | {"question": SELECT.header()["question"] | {"reply_length": 40}},
        "malformed",
    ),
    "a selection of no scores": (
        SELECT.header() | {"question": SELECT.header()["question"] | {"reply_length": 0}},
        "malformed",
    ),
    "a selection noised at home": (
        SELECT.header()
        | {
            "question": SELECT.header()["question"]
            | {"mechanism": SELECT.header()["question"]["mechanism"] | {"where": "home"}}
        },
        "malformed",
    ),
    "a sum of exponential noise": (
        HEADER | {"question": ASKED | {"mechanism": ASKED["mechanism"] | {"kind": "exponential"}}},
        "malformed",
    ),
    "a sum of two winners": (
        HEADER | {"question": ASKED | {"mechanism": ASKED["mechanism"] | {"winners": 2}}},
        "malformed",
    ),
    "a monotone sum": (HEADER | {"question": ASKED | {"monotone": True}}, "malformed"),
    "mechanism a list": (HEADER | {"question": ASKED | {"mechanism": []}}, "malformed"),
    "mechanism's level a string": (
        HEADER | {"question": ASKED | {"mechanism": ASKED["mechanism"] | {"level": "1"}}},
        "malformed",
    ),
    "mechanism's level an integer": (
        HEADER | {"question": ASKED | {"mechanism": ASKED["mechanism"] | {"level": 1}}},
        "malformed",
    ),
    "mechanism's scope left out": (
        HEADER | {"question": ASKED | {"mechanism": {k: v for k, v in ASKED["mechanism"].items() if k != "scope"}}},
        "malformed",
    ),
    "unit left out": (HEADER | {"question": {k: v for k, v in ASKED.items() if k != "unit"}}, "malformed"),
}


@pytest.mark.parametrize("name", BAD_QUERIES)
def test_query_that_may_not_be_answered_is_refused(name, a_party):
    header, code = BAD_QUERIES[name]
    one = a_party()
    pinned(one)
    assert code_of(tell(one, Kind.BEGIN, query=header)) == code
    assert tell(one, Kind.BEGIN, query=HEADER).kind is Kind.OK


def test_every_message_out_of_order_is_refused(a_party):
    query, one = a_query(), a_party()
    assert code_of(begin(one, query)) == "not-pinned"
    pinned(one)
    assert code_of(deliver(one, query, "a")) == "no-query"
    assert code_of(reveal(one, query, [])) == "no-query"
    assert tell(one, Kind.ABORT).kind is Kind.OK
    begin(one, query)
    assert code_of(tell(one, Kind.BEGIN, query=a_query(step=1).header())) == "query-open"


def test_site_outside_the_roster_is_refused(begun):
    query = a_query()
    one = begun(query)
    part, *_, stamp = answer_of(query, "a")
    assert code_of(give(one, "d", part, stamp)) == "unknown-site"


def test_site_delivers_once(begun):
    query = a_query()
    one = begun(query)
    assert deliver(one, query, "a").kind is Kind.OK
    assert code_of(deliver(one, query, "a")) == "delivered-before"


@pytest.mark.parametrize("index", range(PARTIES))
def test_part_of_another_site_party_or_query_does_not_open_and_may_come_right_later(index, begun):
    query = a_query()
    one = begun(query, index)
    *right, stamp = answer_of(query, "a")
    altered = bytearray(right[index])
    altered[-1] ^= 1
    other = answer_of(a_query(step=1), "a")
    for wrong in (right[index - 1], answer_of(query, "b")[index], other[index], bytes(altered)):
        assert code_of(give(one, "a", wrong, stamp)) == "bad-stamp"
    assert code_of(give(one, "a", other[index], other[-1])) == "bad-stamp"
    assert not one._open.total.any()
    assert give(one, "a", right[index], stamp).kind is Kind.OK


@pytest.mark.parametrize("sites", [["a"], ["a", "c"], ["a", "b", "c"], ["b", "a"], ["a", "a", "b"], [], [1, 2]])
def test_only_the_delivered_set_is_revealed(sites, begun):
    query = a_query()
    one = begun(query)
    for site in ("a", "b"):
        deliver(one, query, site)
    assert code_of(reveal(one, query, sites)) == "other-set"
    assert reveal(one, query, ["a", "b"]).kind is Kind.WORDS


def test_quorum_must_be_reached(begun):
    query = a_query()
    one = begun(query)
    deliver(one, query, "b")
    assert code_of(reveal(one, query, ["b"])) == "below-quorum"
    deliver(one, query, "c")
    assert reveal(one, query, ["b", "c"]).kind is Kind.WORDS


def test_attempt_opens_once_whatever_else_the_query_says(begun):
    query = a_query(mechanism=NOISE)
    one = begun(query)
    for site in ("a", "b"):
        deliver(one, query, site)
    assert reveal(one, query, ["a", "b"]).kind is Kind.WORDS
    for again in (query, a_query(length=41)):
        assert code_of(begin(one, again)) == "opened-before"
    assert tell(one, Kind.BEGIN, query=a_query(attempt=1).header()).kind is Kind.OK


def test_attempt_is_spent_even_if_revealing_fails(begun):
    def failing(words):
        raise RuntimeError("out of order")

    query = a_query()
    one = begun(query)
    one._share = failing
    for site in ("a", "b"):
        deliver(one, query, site)
    with pytest.raises(RuntimeError):
        reveal(one, query, ["a", "b"])
    assert code_of(begin(one, query)) == "opened-before"


MALFORMED = {
    "nothing": b"",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "zeros": bytes(1000),
    "head only": HEAD.pack(MAGIC, 1, Kind.HELLO, 2, 0),
    "huge lengths": HEAD.pack(MAGIC, 1, Kind.PART, 2**32 - 1, 2**64 - 1),
    "unknown kind": HEAD.pack(MAGIC, 1, 77, 2, 0) + b"{}",
    "reply for request": HEAD.pack(MAGIC, 1, Kind.OK, 2, 0) + b"{}",
    "later version": HEAD.pack(MAGIC, 2, Kind.HELLO, 2, 0) + b"{}",
    "no JSON": HEAD.pack(MAGIC, 1, Kind.PIN, 3, 0) + b"\x80\x04.",
    "PART without site": HEAD.pack(MAGIC, 1, Kind.PART, 2, 1) + b"{}x",
    "REVEAL of a number": HEAD.pack(MAGIC, 1, Kind.REVEAL, 11, 0) + b'{"sites":1}',
    "HELLO with more": HEAD.pack(MAGIC, 1, Kind.HELLO, 7, 0) + b'{"a":1}',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_message_gets_a_code_and_changes_nothing(name, begun):
    query = a_query()
    one = begun(query)
    for site in ("a", "b"):
        deliver(one, query, site)
    assert code_of(one.answer(MALFORMED[name])) == "malformed"
    assert reveal(one, query, ["a", "b"]).kind is Kind.WORDS


def test_refusals_hold_no_bytes_of_what_was_sent(begun):
    query = a_query()
    one = begun(query)
    secret = b"GATTACA" * 200
    replies = [one.answer(secret), give(one, "a", secret, b""), give(one, "GATTACA", secret, b"")]
    assert all("GATTACA" not in json.dumps(dict(reply.header)) for reply in replies)


def served(one, messages):
    """Run the process's loop on ``messages`` and return its replies."""
    ours, theirs = Pipe()
    with ours, theirs:
        for message in messages:
            ours.send_bytes(message)
        thread = threading.Thread(target=party_process._serve, args=(theirs, one))
        thread.start()
        replies = [frames.decode(ours.recv_bytes()) for _ in messages]
        ours.close()
        thread.join(10)
        assert not thread.is_alive()
    return replies


def test_lost_connection_drops_the_query(begun):
    query = a_query()
    one = begun(query)
    (reply,) = served(one, [frames.encode(Frame(kind=Kind.HELLO, header={}))])
    assert reply.header == {"index": 0, "identity": PARTY_IDS[0].public}
    assert code_of(deliver(one, query, "a")) == "no-query"


def test_unforeseen_exception_answers_a_code_and_goes_on_to_end_the_process(a_party):
    def failing(message):
        raise RuntimeError("GATTACA")

    one = a_party()
    one.answer = failing
    ours, theirs = Pipe()
    with ours, theirs:
        ours.send_bytes(b"any")
        with pytest.raises(RuntimeError, match="GATTACA"):
            party_process._serve(theirs, one)
        reply = frames.decode(ours.recv_bytes())
    assert reply.header == {"code": "internal", "rule": "the party failed and ends"}


DYING = """
from fedgenome.secure import process
try:
    int("GATT" + "ACA")
except ValueError as fault:
    process._die("a party", type(fault), fault, fault.__traceback__)
"""
LOADED = """
import sys, fedgenome.secure.party_process
assert "numpy" in sys.modules
print({"torch", "crypten"} & set(sys.modules))
"""


def test_traceback_of_a_dying_party_withholds_the_text():
    done = subprocess.run([sys.executable, "-c", DYING], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError in a party (text withheld)" in done.stderr
    assert "GATTACA" not in done.stderr


@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("size", [1, party_process._BLOCK - 1, party_process._BLOCK, 2 * party_process._BLOCK + 1])
def test_words_pass_through_crypten_in_place_and_unchanged(size, width):
    words = np.random.default_rng(size).integers(0, 2**width, size, ring.dtype_of(width))
    given = words.copy()
    assert party_process._through_crypten(given) is given
    assert given.dtype == words.dtype and (given == words).all()


def test_passing_through_crypten_holds_a_block_at_a_time():
    words = np.zeros(10**6, np.uint32)
    party_process._through_crypten(words[:1])  # what CrypTen's first use loads is not a block's
    tracemalloc.start()
    party_process._through_crypten(words)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 8 * party_process._BLOCK < peak < 2 * words.nbytes / 3


def test_importing_a_party_loads_no_torch():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("name", ["run", "method"])
def test_query_of_a_name_too_long_to_be_kept_is_refused(a_party, name):
    one, long = a_party(), "r" * 256
    assert pinned(one, run=long if name == "run" else "r").kind is frames.Kind.OK
    assert code_of(tell(one, Kind.BEGIN, query=a_query().header() | {name: long})) == "malformed"
