"""Three real party processes: exact sums, joint noise, refusals, and links cut or garbled."""

import json
import os
import threading
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import pytest

from fedgenome.errors import Refused, SpecError
from fedgenome.query import PARTIES
from fedgenome.secure import frames, party_process, ring
from fedgenome.secure.frames import HEAD, MAGIC, Frame, Kind
from fedgenome.secure.noise import sampler
from fedgenome.secure.parties import WINDOW, Parties
from fedgenome.streams import Root
from tests.secure.trio import (
    NOISE,
    PARTY_IDS,
    ROSTER,
    SEED,
    SITES,
    TERMS,
    a_query,
    adds_exactly,
    ask,
    code_of,
    joined,
    pids,
    raw,
    refused,
    sealed,
    vectors,
)

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize(("unit", "width"), [("site", 32), ("donor", 64)])
def test_sum_without_noise_is_exact_at_both_widths(trio, steps, unit, width):
    query = a_query(next(steps), unit=unit)
    assert query.width == width and adds_exactly(trio, query)


def test_sum_larger_than_every_buffer_is_exact(trio, steps):
    assert adds_exactly(trio, a_query(next(steps), length=300_000, unit="donor"))


@pytest.mark.parametrize("unit", ["site", "donor"])
# A sealed chunk has 2^20 bytes.
@pytest.mark.parametrize("length", [1, party_process._BLOCK - 1, 2 * party_process._BLOCK + 1, 2**18 + 3])
def test_sum_of_any_length_is_exact(trio, steps, length, unit):
    query = a_query(next(steps), length=length, unit=unit)
    answers = vectors(query, SITES[:4])
    assert (ask(*trio, query, answers) == sum(answers.values())).all()


def test_any_sites_in_any_order_give_their_own_sum(trio, steps):
    query = a_query(next(steps))
    answers = vectors(query, [SITES[i] for i in (7, 0, 11)])
    assert (ask(*trio, query, answers) == sum(answers.values())).all()


def noise_of(pair, query):
    answers = vectors(query, SITES[:3])
    return ask(*pair, query, answers) - sum(answers.values())


def own_noise(query, index):
    """Recompute the noise that a seeded party added."""
    out = np.zeros(query.question.length, np.uint64)
    stream = Root.simulation(SEED, "party", index).stream("noise", query.method, query.step, query.attempt)
    sampler(query.sigma_party).add_to(out, stream)
    return ring.signed(out)


def variance_z(noise, query):
    """Standard score of the variance against what three parties should give (normal for this n)."""
    expected = PARTIES * query.sigma_party**2
    return (np.square(noise, dtype=float).mean() / expected - 1) / np.sqrt(2 / noise.size)


def test_noise_has_the_variance_of_three_parties_and_not_of_two_or_four(seeded, steps):
    # n = 20,000: one party more or less is 33 standard errors off; |z| < 4 fails one fresh seed in 16,000.
    query = a_query(next(steps), length=20_000, mechanism=NOISE)
    noise = noise_of(seeded, query)
    assert abs(variance_z(noise, query)) < 4
    assert variance_z(noise - own_noise(query, 0), query) < -20
    assert variance_z(noise + own_noise(replace(query, step=query.step + 1), 0), query) > 20
    assert abs(noise.mean()) < 4 * np.sqrt(PARTIES / noise.size) * query.sigma_party


def test_seeded_noise_is_the_same_in_every_engine(seeded, steps):
    query = a_query(next(steps), mechanism=NOISE)
    assert (noise_of(seeded, query) == sum(own_noise(query, index) for index in range(PARTIES))).all()


def test_unseeded_noise_cannot_be_recomputed(trio, steps):
    query = a_query(next(steps), mechanism=NOISE)
    noise = noise_of(trio, query)
    assert abs(variance_z(noise, query)) < 6
    for index in range(PARTIES):
        assert abs(np.corrcoef(noise, own_noise(query, index))[0, 1]) < 0.2


def test_unknown_site_is_refused(trio, steps):
    query = a_query(next(steps))
    trio[0].begin(query)
    assert code_of(delivered_and_settled, trio, query, "site-0", "stranger") == "unknown-site"


def test_site_twice_is_refused(trio, steps):
    query = a_query(next(steps))
    trio[0].begin(query)
    assert code_of(delivered_and_settled, trio, query, "site-0", "site-0") == "delivered-before"


def delivered_and_settled(trio, query, *names):
    parties, publics = trio
    for name in names:
        parties.deliver(name, *sealed(query, publics, "site-0", vectors(query)["site-0"]))
    parties.reveal(names)


def test_quorum_not_reached_is_refused_until_it_is(trio, steps):
    parties, publics = trio
    query = a_query(next(steps))
    answers = vectors(query, SITES[:3])
    parties.begin(query)
    for count, (site, integers) in enumerate(answers.items(), 1):
        parties.deliver(site, *sealed(query, publics, site, integers))
        if count < TERMS.quorum:
            with refused("below-quorum"):
                parties.reveal(list(answers)[:count])
    assert (ring.signed(parties.reveal(list(answers))) == sum(answers.values())).all()


@pytest.mark.parametrize("named", [SITES[:3], SITES[:5], [*SITES[:3], SITES[5]]])
def test_another_set_than_delivered_is_not_revealed(trio, steps, named):
    parties, publics = trio
    query = a_query(next(steps))
    parties.begin(query)
    for site, integers in vectors(query, SITES[:4]).items():
        parties.deliver(site, *sealed(query, publics, site, integers))
    assert code_of(parties.reveal, named) == "other-set"


def test_bad_part_at_one_party_opens_nothing_at_the_others(trio, steps):
    parties, publics = trio
    query = a_query(next(steps))
    parties.begin(query)
    for site, integers in vectors(query, SITES[:4]).items():
        (first, second, third), stamp = sealed(query, publics, site, integers)
        parties.deliver(site, (first, second[:-1], third) if site == SITES[3] else (first, second, third), stamp)
    with pytest.raises(Refused, match=r"^bad-stamp: party 1, PART site-3: "):
        parties.reveal(SITES[:4])
    parties.abort()
    answers = vectors(query, SITES[:3])
    assert (ask(parties, publics, query, answers) == sum(answers.values())).all()


def test_query_under_other_terms_study_or_run_is_refused(trio, steps):
    query = a_query(next(steps))
    other = replace(TERMS, quorum=1)
    assert code_of(trio[0].begin, replace(query, terms=other)) == "malformed"
    assert code_of(trio[0].begin, replace(query, study="x")) == "other-study"
    assert code_of(trio[0].begin, replace(query, run="x")) == "other-study"
    assert code_of(trio[0].pin, "s", "r", other, ROSTER) == "pinned-before"


def test_attempt_opens_once(trio, steps):
    query = a_query(next(steps))
    answers = vectors(query, SITES[:3])
    ask(*trio, query, answers)
    with refused("opened-before"):
        trio[0].begin(query)
    again = replace(query, attempt=1)
    assert (ask(*trio, again, answers) == sum(answers.values())).all()


def test_reveal_before_begin_is_refused(trio):
    with pytest.raises(Refused, match=r"^no-query: begin comes before reveal"):
        trio[0].reveal(SITES[:3])


JUNK = [
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(100_000),
    HEAD.pack(MAGIC, 1, Kind.HELLO, 2, 0),
    HEAD.pack(MAGIC, 1, Kind.PART, 2**32 - 1, 2**64 - 1),
    HEAD.pack(MAGIC, 1, 77, 2, 0) + b"{}",
    HEAD.pack(MAGIC, 1, Kind.OK, 2, 0) + b"{}",
    HEAD.pack(MAGIC, 9, Kind.HELLO, 2, 0) + b"{}",
    HEAD.pack(MAGIC, 1, Kind.PIN, 3, 0) + b"\x80\x04.",
    HEAD.pack(MAGIC, 1, Kind.PART, 2, 1) + b"{}x",
]


def test_malformed_frames_get_a_code_each_and_the_party_goes_on(trio, steps):
    with raw(trio[0], 1) as link:
        for junk in JUNK:
            link.send_bytes(junk)
            reply = frames.decode(link.recv_bytes())
            assert (reply.kind, reply.header["code"]) == (Kind.REFUSED, "malformed")
    assert adds_exactly(trio, a_query(next(steps)))


def test_connections_cut_anywhere_leave_the_party_up(trio, steps):
    hello = frames.encode(Frame(kind=Kind.HELLO, header={}))
    streams = [
        b"",
        (1000).to_bytes(4, "big") + b"x" * 10,
        (2**31 - 1).to_bytes(4, "big"),
        (len(hello)).to_bytes(4, "big") + hello,
    ]
    for stream in [*streams, b"\xff\xff\xff\xff" + (2**62).to_bytes(8, "big")]:  # the last: beyond MAX_FRAME
        with raw(trio[0], 2) as link:
            os.write(link.fileno(), stream)
    assert adds_exactly(trio, a_query(next(steps)))


@pytest.mark.parametrize("stream", [frames.LENGTH.pack(frames.MAX_FRAME + 1), b"\xff\xff\xff\xff" + bytes(100)])
def test_announcing_too_long_a_message_ends_the_connection(trio, stream):
    with raw(trio[0], 0) as link:
        os.write(link.fileno(), stream)
        assert link.poll(10)
        with pytest.raises((EOFError, ConnectionResetError)):
            link.recv_bytes()


def test_party_grows_by_six_vectors_at_most(trio, steps):
    # Much longer than any other test's vector, so that what the parties held for those hides little.
    query, (parties, publics) = a_query(next(steps), length=2_000_000, mechanism=NOISE), trio
    before, integers = peaks(parties), vectors(query, SITES[:1])["site-0"]
    parties.begin(query)
    for site in SITES:
        parties.deliver(site, *sealed(query, publics, site, integers))
    parties.reveal(SITES)
    vector = query.question.length * query.width // 8
    grown = [after - at_first for after, at_first in zip(peaks(parties), before, strict=True)]
    assert max(grown) < 6 * vector


def peaks(parties):
    """Return the most bytes that each party process ever held."""
    told = [Path(f"/proc/{pid}/status").read_text() for pid in pids(parties)]
    return [int(text.partition("VmHWM:")[2].split()[0]) * 1024 for text in told]


def test_stranger_without_the_key_is_turned_away(trio, steps):
    trio[0].hang_up()
    path, _ = json.loads(trio[0].addresses())[0]
    with pytest.raises(AuthenticationError):
        Client(path, "AF_UNIX", authkey=b"wrong")
    assert adds_exactly(trio, a_query(next(steps)))


def test_another_driver_takes_over_by_address(trio, steps):
    parties, publics = trio
    parties.begin(a_query(next(steps)))
    parties.hang_up()
    other = Parties.connect(parties.addresses())
    with other:
        assert joined(other)[1] == publics  # the same keys for the same run
        assert adds_exactly((other, publics), a_query(next(steps)))
    parties.check()
    assert joined(parties)[1] == publics


def test_second_connection_waits_for_the_first_to_end(trio, steps):
    parties, _ = trio
    with Parties.connect(parties.addresses()) as other:
        threading.Timer(0.5, parties.hang_up).start()
        assert other.ready() == tuple(one.public for one in PARTY_IDS)


def test_no_more_than_the_window_is_owed(trio, steps):
    parties, publics = trio
    query = a_query(next(steps), length=300_000)
    parties.begin(query)
    for site, integers in vectors(query).items():
        parties.deliver(site, *sealed(query, publics, site, integers))
        assert all(len(handle.owed) <= WINDOW for handle in parties._handles)


def test_private_folder_is_for_its_owner_only(trio):
    folder = trio[0]._folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {entry.name for entry in folder.iterdir()} >= {"0.sock", "1.sock", "2.sock"}


def test_folder_too_deep_for_a_socket_is_refused_and_nothing_is_left(tmp_path):
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    with pytest.raises(SpecError, match="socket paths have at most 100 bytes"):
        Parties.start(deep, None)
    assert not list(deep.iterdir())


def test_hundreds_of_mutated_messages_leave_a_real_party_up_and_open_no_sum(trio, steps):
    parties, publics = trio
    query, rng = a_query(next(steps)), np.random.default_rng(7)
    parts, stamp = sealed(query, publics, "site-0", vectors(query, SITES[:1])["site-0"])
    told = {"site": "site-0", "stamp": stamp.hex()}
    messages = [
        Frame(kind=Kind.BEGIN, header={"query": query.header()}),
        Frame(kind=Kind.PART, header=told, body=parts[0]),
        Frame(kind=Kind.REVEAL, header={"query": query.digest, "sites": SITES[:3]}),
    ]
    with raw(parties, 0) as link:
        link.send_bytes(frames.encode(messages[0]))
        assert frames.decode(link.recv_bytes()).kind is Kind.OK
        for number in range(450):
            message = bytearray(frames.encode(messages[number % 3]))
            message[rng.integers(len(message))] ^= 1 << rng.integers(8)
            link.send_bytes(bytes(message))
            assert frames.decode(link.recv_bytes()).kind is Kind.REFUSED
    assert adds_exactly(trio, a_query(next(steps)))
