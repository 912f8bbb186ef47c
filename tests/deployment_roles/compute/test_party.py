"""Parties and dealer as daemons with real processes, asked over messages: what they open, refuse, and survive."""

import json
import resource
import signal
import ssl
import time
from contextlib import ExitStack

import numpy as np
import pytest

from fedgenome.deployment.compute import daemon
from fedgenome.errors import Refused, RoleError
from fedgenome.federation.wire import Call
from fedgenome.secure import frames, replies, ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.party import ANSWERS
from tests.deployment_roles.deployed import (
    JOINING,
    NOISE,
    PINNING,
    SITES,
    Deployed,
    a_query,
    a_selection,
    asked,
    await_listener,
    deliver,
    ending,
    noise_of,
    packed,
    remote_over,
    unpacked,
    vectors,
)

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    with ExitStack() as stack:
        yield Deployed(tmp_path_factory.mktemp("deployed"), stack)


@pytest.fixture
def joined(deployed):
    """A coordinator's end of the shared daemons, whose run stays open, and the parties' keys of it."""
    remote = remote_over(deployed.post)
    remote.ready()
    return remote, remote.pin(**PINNING)


@pytest.fixture(scope="module")
def steps():
    """Steps that no test has used: the shared parties open each once."""
    return iter(range(10_000))


def test_the_sum_is_the_integer_sum(joined, steps):
    query = a_query(next(steps), length=3000)
    answers = vectors(query)
    assert (asked(*joined, query, answers) == sum(answers.values())).all()


def test_seeded_parties_add_the_same_noise_wherever_they_run(joined, steps):
    query = a_query(next(steps), mechanism=NOISE)
    answers = vectors(query)
    opened = asked(*joined, query, answers)
    assert (opened == sum(answers.values()) + noise_of(query)).all() and np.any(noise_of(query))


def test_a_query_costs_each_party_one_message(deployed, joined, steps):
    query = a_query(next(steps))
    deployed.post.sent.clear()
    asked(*joined, query, vectors(query))
    assert sorted(deployed.post.sent) == [("frames", f"party-{index}") for index in range(3)]


def test_the_winner_of_the_sum_is_selected_over_tcp(joined, steps):
    query = a_selection(next(steps))
    answers = vectors(query)
    deliver(*joined, query, answers)
    assert joined[0].select(list(answers)).tolist() == [int(np.argmax(sum(answers.values())))]


def test_a_message_that_comes_again_gives_the_stored_bytes_and_another_set_none(deployed, joined, steps):
    query = a_query(next(steps), mechanism=NOISE)
    first = asked(*joined, query, vectors(query))
    again = [deployed.post.handles[f"party-{i}"]("frames", ending(query, SITES)) for i in range(3)]
    words = [replies.words(unpacked(answer)[0].body, query) for answer in again]
    assert (ring.signed(sum(words)) == first).all()
    other = unpacked(deployed.post.handles["party-1"]("frames", ending(query, SITES[:2])))[0]
    assert other.header["code"] == "other-set"


def test_messages_that_all_come_twice_open_the_same_sum(deployed, joined, steps):
    query = a_query(next(steps), mechanism=NOISE)
    deployed.post.twice = True
    try:
        opened = asked(*joined, query, vectors(query))
    finally:
        deployed.post.twice = False
    assert (opened == sum(vectors(query).values()) + noise_of(query)).all()


def afresh(remote):
    """Make the next attempt possible, as a coordinator does."""
    remote.abort()
    remote.ready()
    return remote.pin(**PINNING)


def test_a_killed_process_ends_the_attempt_by_name_and_the_next_one_works(deployed, joined, steps):
    remote, keys = joined
    query = a_query(next(steps))
    deliver(remote, keys, query, vectors(query))
    deployed.child("party-1").send_signal(signal.SIGKILL)
    with pytest.raises(RoleError, match=r"^party 1 failed \(role-failed\): party 1 ended \(signal 9\)$"):
        remote.reveal(SITES)
    fresh = afresh(remote)
    assert all(new.public != old.public for new, old in zip(fresh, keys, strict=True))
    later = a_selection(next(steps))
    deliver(remote, fresh, later, vectors(later))
    assert remote.select(SITES).tolist() == [int(np.argmax(sum(vectors(later).values())))]


def test_a_killed_daemon_ends_the_attempt_and_its_memory_survives(deployed, joined, steps):
    remote, keys = joined
    query, later = a_query(next(steps), mechanism=NOISE), a_query(next(steps))
    asked(remote, keys, query, vectors(query))
    (opened,) = unpacked(deployed.post.handles["party-2"]("frames", ending(query, SITES)))
    deliver(remote, keys, later, vectors(later))
    deployed.kill()
    with pytest.raises(RoleError, match=r"^party 2 failed \(unreachable\)"):
        remote.reveal(SITES)
    deployed.start()
    fresh = afresh(remote)
    (again,) = unpacked(deployed.post.handles["party-2"]("frames", ending(query, SITES)))
    assert bytes(again.body) == bytes(opened.body) and again.header == opened.header
    last = a_query(next(steps))
    assert (asked(remote, fresh, last, vectors(last)) == sum(vectors(last).values())).all()


def test_a_party_on_a_full_disk_refuses_to_begin_and_then_to_be_pinned_until_there_is_room(deployed, joined, steps):
    remote, keys = joined
    query, limit = a_query(next(steps), length=1 << 17), resource.RLIMIT_FSIZE
    held, child = (deployed.configs[0].state / ANSWERS).stat().st_size, deployed.child("party-0").pid
    before = resource.prlimit(child, limit, (held, resource.RLIM_INFINITY))
    try:
        with pytest.raises(Refused, match=r"disk-full: party 0, BEGIN: no room to keep an answer"):
            asked(remote, keys, query, vectors(query))
        with pytest.raises(Refused, match=r"disk-full: party 0, PIN: no room to keep an answer"):
            remote.pin(**PINNING)
    finally:
        resource.prlimit(child, limit, before)
    query = a_query(next(steps))  # as a coordinator's next attempt: the others opened theirs
    answers = vectors(query)
    assert (asked(remote, remote.pin(**PINNING), query, answers) == sum(answers.values())).all()


def test_health_names_the_role_that_answers(deployed):
    assert daemon.health(deployed.configs[2]) == "party-2"


def test_logs_hold_no_data(deployed, joined, steps):
    query = a_query(next(steps))
    asked(*joined, query, vectors(query))
    lines = [json.loads(line) for line in deployed.logged.getvalue().splitlines()]
    assert {"event", "outcome", "rule", "run", "seconds"} == set().union(*lines)
    assert {"join", "frames"} <= {line["event"] for line in lines}


# ── what is refused ──────────────────────────────────────────────────────────────────────────────


def test_another_run_is_refused_while_one_is_open(deployed, joined):
    answer = deployed.daemons["party-0"].handle("join", Call(header=JOINING | {"run": "run-2"}))
    assert answer.refusal[0] == "busy" and "another run is open" in answer.refusal[1]


@pytest.mark.parametrize("change", ["study", "run", "terms", "roster"])
def test_a_pin_that_is_not_what_was_joined_is_refused(deployed, joined, change):
    header = replies.pinning(**PINNING)
    header |= {"study": "0" * 64, "run": "run-2"} if change in ("study", "run") else {}
    if change == "terms":
        header["terms"] |= {"quorum": 1}
    if change == "roster":
        header["roster"] |= {"dealer": ""}
    (reply,) = unpacked(deployed.daemons["party-0"].handle("frames", packed(Frame(kind=Kind.PIN, header=header))))
    assert (reply.kind, reply.header["code"]) == (Kind.REFUSED, "other-study")


def test_frames_of_another_run_open_nothing(deployed, joined, steps):
    query = a_query(next(steps), run="run-2")
    remote, keys = joined
    deliver(remote, keys, query, vectors(query))
    with pytest.raises(Refused, match=r"^other-study: party 0, BEGIN: the query names another study or run$"):
        remote.reveal(SITES)


def mutated(rng, blob):
    """Return ``blob`` with a few bytes changed, cut or added."""
    out = bytearray(blob)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(len(out)))
        match rng.integers(3):
            case 0:
                out[place] = rng.integers(256)
            case 1:
                del out[place:]
            case _:
                out[place:place] = rng.bytes(4)
        out = out or bytearray(1)
    return bytes(out)


def test_a_thousand_damaged_messages_leave_the_daemon_at_work(deployed, joined, steps):
    rng, query = np.random.default_rng(1), a_query(next(steps))
    party = deployed.daemons["party-0"]
    whole = [
        frames.encode(Frame(kind=Kind.BEGIN, header={"query": query.header()})),
        frames.encode(Frame(kind=Kind.PIN, header=replies.pinning(**PINNING))),
    ]
    for number in range(900):
        blob = np.frombuffer(mutated(rng, whole[number % 2]), np.uint8)
        answer = party.handle("frames", Call(header={}, arrays={"0": blob}))
        assert answer.refusal or unpacked(answer)[0].kind in (Kind.OK, Kind.REFUSED)
    text = json.dumps(JOINING).encode()
    codes = {damaged_join(party, mutated(rng, text)) for _ in range(100)}
    assert codes <= {"malformed", "not-signed", "busy", "invalid", "answered"} and "malformed" in codes
    assert (asked(*joined, query, vectors(query)) == sum(vectors(query).values())).all()


def damaged_join(party, text):
    try:
        header = json.loads(text)
    except ValueError:
        header = {"study": text.decode("latin-1")}
    answer = party.handle("join", Call(header=header if isinstance(header, dict) else {"study": header}))
    return answer.refusal[0] if answer.refusal else "answered"


# ── strangers at the peers' port ─────────────────────────────────────────────────────────────────


@pytest.fixture
def waiting(deployed):
    """Party 0 listening for its peers, who were started but not told yet; its address."""
    remote_over(deployed.post).abort()
    for handle in deployed.post.handles.values():
        handle("close", Call(header={"run": JOINING["run"]}))
    for handle in deployed.post.handles.values():
        assert handle("join", Call(header=JOINING)).header["fresh"]
    pin = packed(Frame(kind=Kind.PIN, header=replies.pinning(**PINNING)))
    assert unpacked(deployed.post.handles["party-0"]("frames", pin))[0].kind is Kind.OK
    return deployed.configs[0].listen


def turned_away(link):
    """Whether the other side ends a connection; what it showed of itself before says nothing."""
    link.settimeout(15)
    try:
        while link.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return True


def test_strangers_at_the_peers_port_are_turned_away_and_the_true_ones_meet(deployed, waiting, steps):
    with await_listener(waiting) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: party-0\r\n\r\n")
        assert turned_away(plain)
    settings = ssl.create_default_context()
    settings.check_hostname, settings.verify_mode = False, ssl.CERT_NONE
    with await_listener(waiting) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
        settings.wrap_socket(raw)
    rng, begun = np.random.default_rng(2), time.monotonic()
    for _ in range(200):
        with await_listener(waiting) as noisy:
            noisy.sendall(b"FGTL\x01\x03\x01\x90" + rng.bytes(400))
    assert time.monotonic() - begun < 60
    remote = remote_over(deployed.post)
    remote.ready()
    query, keys = a_selection(next(steps)), remote.pin(**PINNING)
    deliver(remote, keys, query, vectors(query))
    assert remote.select(SITES).tolist() == [int(np.argmax(sum(vectors(query).values())))]
