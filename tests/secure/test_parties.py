"""Three real party processes: exact sums, joint noise, refusals, and that no process outlives its driver."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import psutil
import pytest

from fedgenome.errors import Refused, RoleError, SpecError
from fedgenome.query import PARTIES, Mechanism, Query, Question, Roster, Terms, choose_scale
from fedgenome.secure import bundle, frames, ring
from fedgenome.secure.frames import HEAD, MAGIC, Frame, Kind
from fedgenome.secure.identity import Identity
from fedgenome.secure.noise import sampler
from fedgenome.secure.parties import WINDOW, Parties, _Handle, _words
from fedgenome.secure.party import IDENTITY
from fedgenome.streams import Root

SITES = [f"site-{index}" for index in range(12)]
SITE_IDS = {site: Identity.generate() for site in SITES}
PARTY_IDS = tuple(Identity.generate() for _ in range(PARTIES))
ROSTER = Roster(
    sites=tuple((site, 100_000, SITE_IDS[site].public) for site in SITES), parties=[one.public for one in PARTY_IDS]
)
TERMS = Terms(caps=ROSTER.caps, colluders=1, quorum=3, roster=ROSTER.digest, plan="p")
NOISE = Mechanism(kind="gaussian", level=1.0)
SEED = 20261121
pytestmark = pytest.mark.timeout(180)


def a_query(step, length=1000, unit="site", mechanism=None, **changes):
    question = Question(payload={}, length=length, reply_length=length, bound=1.0, mechanism=mechanism, unit=unit)
    scale = choose_scale(question, TERMS)
    given = {"study": "s", "run": "r", "method": "m", "step": step, "attempt": 0, "scale": scale, "terms": TERMS}
    return Query(question=question, **(given | changes))


def vectors(query, sites=SITES):
    """Return {site: integers of both signs}, as large as the query's bound lets one coordinate be."""
    rng = np.random.default_rng(query.step)
    size = int(query.scale)
    return {site: rng.integers(-size, size, query.question.length, endpoint=True) for site in sites}


def sealed(query, publics, site, integers):
    words = integers.astype(np.uint64).astype(ring.dtype_of(query.width))
    parts = bundle.seal(query, site, SITES.index(site), words, publics)
    return parts, bundle.sign(query, site, parts, SITE_IDS[site])


def ask(parties, publics, query, answers):
    """Return what the three parties open for ``answers``."""
    parties.begin(query)
    for site, integers in answers.items():
        parties.deliver(site, *sealed(query, publics, site, integers))
    shares = parties.reveal(list(answers))
    return ring.signed(shares[0] + shares[1] + shares[2])


def joined(parties):
    parties.ready()
    return parties, tuple(key.public for key in parties.pin("s", "r", TERMS, ROSTER))


@contextlib.contextmanager
def started(folder, seed=None, **options):
    with Parties.start(folder, seed, **options) as parties, tempfile.TemporaryDirectory() as kept:
        for index, one in enumerate(PARTY_IDS):
            (Path(kept) / str(index)).mkdir()
            one.save(Path(kept) / str(index) / IDENTITY)
        parties.keep(Path(kept))
        yield joined(parties)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    with started(tmp_path_factory.mktemp("three")) as pair:
        yield pair


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    with started(tmp_path_factory.mktemp("seeded"), seed=SEED) as pair:
        yield pair


@pytest.fixture
def trio(three):
    """The shared parties, with no query open before or after."""
    yield three
    three[0].abort()


@pytest.fixture(scope="module")
def steps():
    """Steps that no test has used: the shared parties open each once."""
    return iter(range(10_000))


def pids(parties):
    return [handle.process.pid for handle in parties._handles]


def running(pids):
    """Return those that still run; a zombie whose parent died does not."""
    alive = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
    return alive


def gone_within(seconds, pids):
    deadline = time.monotonic() + seconds
    while running(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(pids)


@pytest.mark.parametrize(("unit", "width"), [("site", 32), ("donor", 64)])
def test_sum_without_noise_is_exact_at_both_widths(trio, steps, unit, width):
    query = a_query(next(steps), unit=unit)
    assert query.width == width
    answers = vectors(query)
    assert (ask(*trio, query, answers) == sum(answers.values())).all()


def test_sum_larger_than_every_buffer_is_exact(trio, steps):
    query = a_query(next(steps), length=300_000, unit="donor")
    answers = vectors(query)
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


def refused(code):
    return pytest.raises(Refused, match=rf"^{code}: party \d")


def test_unknown_site_is_refused(trio, steps):
    query = a_query(next(steps))
    trio[0].begin(query)
    with refused("unknown-site"):
        delivered_and_settled(trio, query, "site-0", "stranger")


def test_site_twice_is_refused(trio, steps):
    query = a_query(next(steps))
    trio[0].begin(query)
    with refused("delivered-before"):
        delivered_and_settled(trio, query, "site-0", "site-0")


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
    assert len(parties.reveal(list(answers))) == PARTIES


@pytest.mark.parametrize("named", [SITES[:3], SITES[:5], [*SITES[:3], SITES[5]]])
def test_another_set_than_delivered_is_not_revealed(trio, steps, named):
    parties, publics = trio
    query = a_query(next(steps))
    parties.begin(query)
    for site, integers in vectors(query, SITES[:4]).items():
        parties.deliver(site, *sealed(query, publics, site, integers))
    with refused("other-set"):
        parties.reveal(named)


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
    with refused("malformed"):
        trio[0].begin(replace(query, terms=replace(TERMS, quorum=1)))
    for changed in (replace(query, study="x"), replace(query, run="x")):
        with refused("other-study"):
            trio[0].begin(changed)
    with refused("pinned-before"):
        trio[0].pin("s", "r", replace(TERMS, quorum=1), ROSTER)


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


@contextlib.contextmanager
def raw(parties, index):
    """Connect to one party with nothing between."""
    parties.hang_up()
    path, key = json.loads(parties.addresses())[index]
    with Client(path, "AF_UNIX", authkey=bytes.fromhex(key)) as link:
        yield link


def test_malformed_frames_get_a_code_each_and_the_party_goes_on(trio, steps):
    with raw(trio[0], 1) as link:
        for junk in JUNK:
            link.send_bytes(junk)
            reply = frames.decode(link.recv_bytes())
            assert (reply.kind, reply.header["code"]) == (Kind.REFUSED, "malformed")
    test_sum_without_noise_is_exact_at_both_widths(trio, steps, "site", 32)


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
    test_sum_without_noise_is_exact_at_both_widths(trio, steps, "site", 32)


def test_stranger_without_the_key_is_turned_away(trio, steps):
    trio[0].hang_up()
    path, _ = json.loads(trio[0].addresses())[0]
    with pytest.raises(AuthenticationError):
        Client(path, "AF_UNIX", authkey=b"wrong")
    test_sum_without_noise_is_exact_at_both_widths(trio, steps, "site", 32)


def test_another_driver_takes_over_by_address(trio, steps):
    parties, publics = trio
    parties.begin(a_query(next(steps)))
    parties.hang_up()
    other = Parties.connect(parties.addresses())
    with other:
        assert joined(other)[1] == publics  # the same keys for the same run
        test_sum_without_noise_is_exact_at_both_widths((other, publics), steps, "site", 32)
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


def test_silent_party_is_named(trio, steps):
    parties, _ = trio
    parties.hang_up()
    with Parties.connect(parties.addresses(), timeout_seconds=0.5) as hasty:
        hasty.ready()
        os.kill(pids(parties)[1], signal.SIGSTOP)
        try:
            with pytest.raises(RoleError, match=r"^party 1 gave no answer for 0\.5 s$"):
                hasty.begin(a_query(next(steps)))
        finally:
            os.kill(pids(parties)[1], signal.SIGCONT)


def test_silent_party_that_takes_no_more_bytes_is_named(trio, steps):
    parties, _ = trio
    query = a_query(next(steps), length=300_000)
    parts = [bytes(1_000_000)] * PARTIES
    parties.hang_up()
    with Parties.connect(parties.addresses(), timeout_seconds=0.5) as hasty:
        hasty.begin(query)
        os.kill(pids(parties)[2], signal.SIGSTOP)
        try:
            with pytest.raises(RoleError, match=r"^party 2 gave no answer for 0\.5 s$"):
                hasty.deliver("site-0", parts, b"")
        finally:
            os.kill(pids(parties)[2], signal.SIGCONT)


def test_party_killed_between_deliveries_is_named_at_the_next(tmp_path):
    with started(tmp_path) as (parties, publics):
        left = pids(parties)
        query = a_query(0)
        parts = {site: sealed(query, publics, site, integers) for site, integers in vectors(query).items()}
        parties.begin(query)
        for site in SITES[:5]:
            parties.deliver(site, *parts[site])
        os.kill(left[1], signal.SIGKILL)
        killed = time.monotonic()
        with pytest.raises(RoleError, match=r"^party 1 ended \(signal 9\)$"):
            deliver_for(3, parties, parts)
        assert time.monotonic() - killed < 3
    assert not running(left)
    assert not list(tmp_path.iterdir())


def deliver_for(seconds, parties, parts):
    deadline = time.monotonic() + seconds
    for site in SITES[5:]:
        parties.deliver(site, *parts[site])
        time.sleep(0.01)
    while time.monotonic() < deadline:
        parties.check()


def test_party_killed_while_another_is_waited_for_is_named_within_3_s(tmp_path):
    with started(tmp_path) as (parties, _):
        left = pids(parties)
        os.kill(left[0], signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (left[2], signal.SIGKILL)).start()
        asked = time.monotonic()
        with pytest.raises(RoleError, match=r"^party 2 ended \(signal 9\)$"):
            parties.begin(a_query(0))
        assert time.monotonic() - asked < 3.3
    assert not running(left)
    assert not list(tmp_path.iterdir())


def test_party_killed_while_starting_is_named_within_3_s(tmp_path):
    with Parties.start(tmp_path, None) as parties:
        left = pids(parties)
        os.kill(left[1], signal.SIGKILL)
        killed = time.monotonic()
        with pytest.raises(RoleError, match=r"^party 1 ended \(signal 9\)$"):
            parties.ready()
        assert time.monotonic() - killed < 3
    assert not running(left)


def test_killed_party_is_named_rather_than_those_it_took_along(tmp_path):
    commands = ["exit 1", "kill -9 $$", "exit 1"]
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(["/bin/sh", "-c", command])) for command in commands]
        for process in processes:
            process.wait(10)
        handles = [_Handle(index=i, path="", key=b"", process=process) for i, process in enumerate(processes)]
        with pytest.raises(RoleError, match=r"^party 1 ended \(signal 9\)$"):
            Parties(handles, None, 1.0).check()
        with pytest.raises(RoleError, match=r"^party 0 ended \(exit code 1\)$"):
            Parties(handles[:1], None, 1.0).check()


DRIVER = """
import json, signal, sys, time
from pathlib import Path
from fedgenome.secure.parties import Parties
signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background has it ignored
with Parties.start(Path(sys.argv[1]), None) as parties:
    if sys.argv[2] == "ready":
        parties.ready()
    print(json.dumps([handle.process.pid for handle in parties._handles]), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("when", "how"), [("ready", signal.SIGKILL), ("loading", signal.SIGKILL), ("loading", signal.SIGINT)]
)
def test_no_party_outlives_a_driver_that_ends(tmp_path, when, how):
    command = [sys.executable, "-c", DRIVER, str(tmp_path), when]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as driver:
        left = json.loads(driver.stdout.readline())
        assert len(running(left)) == PARTIES
        if when == "loading":
            time.sleep(0.7)
        driver.send_signal(how)
        assert gone_within(2, left)
        driver.wait(5)
    assert not list(tmp_path.iterdir())


def test_close_ends_a_stopped_party_too_and_may_be_repeated(tmp_path):
    parties = Parties.start(tmp_path, None)
    left = pids(parties)
    os.kill(left[1], signal.SIGSTOP)
    parties.close()
    parties.close()
    assert not running(left)
    assert not list(tmp_path.iterdir())


@contextlib.contextmanager
def at(folder, kept):
    """Start three parties over a folder of identities and memories that outlives them."""
    with Parties.start(folder, None) as parties:
        parties.keep(kept)
        yield joined(parties)


@pytest.fixture
def kept(tmp_path):
    for index, one in enumerate(PARTY_IDS):
        (tmp_path / "kept" / str(index)).mkdir(parents=True)
        one.save(tmp_path / "kept" / str(index) / IDENTITY)
    return tmp_path / "kept"


def test_parties_killed_after_their_shares_left_repeat_them_and_open_nothing_else(tmp_path, kept):
    query = a_query(0, mechanism=NOISE)
    answers = vectors(query, SITES[:4])
    with at(tmp_path, kept) as (parties, publics):
        first = ask(parties, publics, query, answers)
        for pid in pids(parties):
            os.kill(pid, signal.SIGKILL)
    with at(tmp_path, kept) as (parties, publics):
        with refused("opened-before"):
            parties.begin(query)
        again = [asked(parties, index, query, SITES[:4]) for index in range(PARTIES)]
        assert (ring.signed(sum(_words(reply.body, query) for reply in again)) == first).all()
        assert asked(parties, 2, query, SITES[:3]).header["code"] == "other-set"
        ask(parties, publics, replace(query, attempt=1), vectors(query, SITES[:3]))


def asked(parties, index, query, sites):
    """Ask one party for a sum, with nothing between."""
    with raw(parties, index) as link:
        link.send_bytes(frames.encode(Frame(kind=Kind.REVEAL, header={"query": query.digest, "sites": sorted(sites)})))
        return frames.decode(link.recv_bytes())


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
    test_sum_without_noise_is_exact_at_both_widths(trio, steps, "site", 32)
