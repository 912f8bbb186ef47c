"""Three parties and a dealer meet: who may join, what passes between them, and what ends it. Real processes."""

import signal
import socket
import threading
import time

import psutil
import pytest

from tests.secure.crew import Crew, identities, meeting, scene, wait_for

TALK = """
import numpy as np
from fedgenome.secure.links import Kind
from tests.secure.crew import join

def main(rank, told):
    told["meeting"]["addresses"] = told.get("own", {}).get(str(rank), told["meeting"]["addresses"])
    with join(rank, told) as links:
        right = []
        for size in told["sizes"] if rank < 3 else ():
            own = np.full(size, rank, np.uint8)
            rooms = {peer: np.empty(size, np.uint8) for peer in links.peers}
            for peer, room in rooms.items():
                links.send(peer, Kind.WORDS, own.data)
                links.expect(peer, Kind.WORDS, room.data)
            links.flush()
            right.append(all(bool((room == peer).all()) for peer, room in rooms.items()))
        return right, links.traffic
"""
KEYS = """
from tests.secure.crew import join

def main(rank, told):
    with join(rank, told) as links:
        return {peer: [links.key(peer, purpose).hex() for purpose in "ab"] for peer in range(4) if peer != rank}
"""
# All but one wait for its word; that one tells that it is there, and sleeps.
SILENCE = """
import time
from pathlib import Path
from fedgenome.secure.links import Kind
from tests.secure.crew import join

def main(rank, told):
    with join(rank, told) as links:
        Path(told["folder"], f"{rank}.there").touch()
        if rank == told["silent"]:
            time.sleep(60)
        links.expect(told["silent"], Kind.WORDS, memoryview(bytearray(8)))
        links.flush()
"""
AGREE = """
from tests.secure.crew import join

def main(rank, told):
    with join(rank, told) as links:
        if rank < 3:
            links.agree(bytes([told["digests"][rank]]) * 32)
"""
STEP = """
from fedgenome.secure.links import Kind
from tests.secure.crew import join

def main(rank, told):
    with join(rank, told) as links:
        if rank == 0:
            links.expect(1, Kind.WORDS, memoryview(bytearray(8)))
        if rank == 1:
            links.send(0, Kind[told["kind"]], memoryview(bytes(told["size"])))
        links.flush()
"""
JOIN = """
from tests.secure.crew import join

def main(rank, told):
    join(rank, told).close()
"""
LATE = """
import time
from tests.secure.crew import join

def main(rank, told):
    time.sleep(rank and 0.5)
    join(rank, told).close()
"""
# Rank 4 calls itself the dealer under a key of its own; the true dealer comes later.
CALLER = """
import time
from tests.secure.crew import join

def main(rank, told):
    time.sleep(0.5 if rank == 3 else 0)
    join(*((3, told["stranger"]) if rank == 4 else (rank, told))).close()
"""
# One role joins under its name with something that is not its own.
IMPOSTOR = """
from fedgenome.secure import joining
from fedgenome.secure.generators import Meeting, Pass
from tests.secure.crew import identities, join, meeting, private

def main(rank, told):
    if rank == told.get("impostor", 3):
        true = Meeting(**told["meeting"])
        keys = list(told["keys"])
        keys[rank] = identities()[0]
        other = Meeting(**(meeting(None, keys, addresses=true.addresses)))
        mine = {
            "other identity": lambda: Pass.make(other, rank, private(keys[rank])),
            "other session": lambda: Pass.make(
                Meeting(session="old", identities=true.identities, addresses=true.addresses),
                rank,
                private(told["keys"][rank]),
            ),
            "certificate of another": lambda: Pass.make(true, rank, private(told["keys"][rank])),
        }[told["caller"]]()
        if told["caller"] == "certificate of another":  # overheard, so without the key to it
            settings, forged = joining._context, Pass.make(other, rank, private(keys[rank]))
            joining._context = lambda own, trusted, server: settings(forged, trusted, server)
        joining.Pass = type("Any", (), {"make": lambda *_: mine})
    join(rank, told).close()
"""


@pytest.fixture(scope="module")
def crew():
    with Crew() as crew:
        yield crew
        assert psutil.Process(crew.process.pid).children(recursive=True) == []


# ── what passes ──────────────────────────────────────────────────────────────────────────────────


def test_messages_longer_than_sockets_hold_cross_without_waiting_for_each_other(crew, tmp_path):
    sizes = [0, 1, 8191, 8192, 1 << 23, 3]
    played = crew.play(tmp_path, TALK, scene(tmp_path, sizes=sizes))
    for right, traffic in [played[rank] for rank in range(3)]:
        assert right == [True] * len(sizes)
        assert traffic == [2 * (sum(sizes) + 18 * len(sizes)) + 3 * 18] * 2
    assert not list(tmp_path.glob("*.sock"))


def test_each_pair_shares_keys_that_no_other_pair_purpose_or_session_has(crew, tmp_path):
    told = scene(tmp_path)
    sessions = [crew.play(tmp_path, KEYS, told) for _ in range(2)]
    held = [keys for played in sessions for mine in played.values() for pair in mine.values() for keys in pair]
    for played in sessions:
        for rank, mine in played.items():
            assert all(played[int(peer)][str(rank)] == keys for peer, keys in mine.items())
    assert len(set(held)) == len(held) // 2 == 2 * 6 * 2


def test_roles_meet_over_tcp(crew, tmp_path):
    keys = identities()
    told = scene(tmp_path, sizes=[100]) | {"keys": keys}
    told["meeting"] = meeting(tmp_path, keys, addresses=[f"127.0.0.1:{port}" for port in free_ports(3)])
    assert all(right == [True] for right, _ in [crew.play(tmp_path, TALK, told)[rank] for rank in range(3)])


@pytest.mark.parametrize(("kind", "size"), [("AGREE", 8), ("WORDS", 16), ("WORDS", 0)])
def test_message_that_is_not_due_ends_the_session(crew, tmp_path, kind, size):
    crew.start(tmp_path, STEP, scene(tmp_path, kind=kind, size=size))
    assert crew.finish()[0]["error"] == "RoleError: party-1 is out of step: it sent another message than is due"


def test_parties_told_different_things_refuse(crew, tmp_path):
    crew.start(tmp_path, AGREE, scene(tmp_path, digests=[7, 7, 8]))
    ended = crew.finish()
    assert ended[0]["error"] == "Refused: other-set: party-0 and party-2 were told the same"
    assert all("Refused: other-set" in ended[rank]["error"] for rank in (1, 2))
    crew.play(tmp_path, AGREE, scene(tmp_path, digests=[7, 7, 7]))


# ── who may join ─────────────────────────────────────────────────────────────────────────────────


def test_stranger_who_calls_is_turned_away_and_the_true_one_still_comes(crew, tmp_path):
    told = scene(tmp_path)
    keys = [*told["keys"][:3], identities()[3]]
    crew.start(tmp_path, CALLER, told | {"stranger": told | {"keys": keys}}, (0, 1, 2, 3, 4))
    ended = crew.finish()
    assert [ended[rank].get("error") for rank in range(4)] == [None] * 4
    assert "roster's identity of dealer" in ended[4]["error"]


@pytest.mark.parametrize("caller", ["other identity", "other session", "certificate of another"])
def test_caller_without_the_identity_s_word_for_this_session_does_not_join(crew, tmp_path, caller):
    crew.start(tmp_path, IMPOSTOR, scene(tmp_path, caller=caller) | {"start": 1.5})
    ended = crew.finish()
    assert all(ended[rank]["error"].endswith("dealer did not come") for rank in range(3)), ended
    assert ended[3]["error"].startswith("RoleError: party-")
    assert " turned dealer away: another run or identity, or clocks" in ended[3]["error"]


def test_callee_of_another_identity_is_named_at_once(crew, tmp_path):
    crew.start(tmp_path, IMPOSTOR, scene(tmp_path, caller="other identity", impostor=0) | {"start": 1.5})
    errors = [end["error"] for rank, end in crew.finish().items() if rank]
    assert "RoleError: party-0: not the roster's identity, or not for this session" in errors


def test_callers_that_say_nothing_or_nonsense_keep_nobody_out(crew, tmp_path):
    crew.start(tmp_path, LATE, scene(tmp_path))
    wait_for([tmp_path / "0.sock"])
    callers = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for caller, words in zip(callers, [b"", b"GET / HTTP/1.0\r\n\r\n", bytes(5000)], strict=True):
        caller.connect(str(tmp_path / "0.sock"))
        caller.sendall(words)
    ended = crew.finish()
    for caller in callers:
        caller.close()
    assert [end.get("error") for end in ended.values()] == [None] * 4


def test_who_is_missing_is_named(crew, tmp_path):
    crew.start(tmp_path, JOIN, scene(tmp_path) | {"start": 0.5}, (0, 2))
    ended = crew.finish()
    assert {rank: end["error"] for rank, end in ended.items()} == {
        0: "RoleError: party-1, dealer did not come",
        2: "RoleError: party-1, dealer did not come",
    }


def test_place_that_is_taken_is_named(crew, tmp_path):
    (tmp_path / "0.sock").touch()
    crew.start(tmp_path, JOIN, scene(tmp_path), (0,))
    assert crew.finish()[0]["error"] == (
        f"RoleError: party-0 cannot listen at {tmp_path / '0.sock'}: Address already in use"
    )


# ── the network is hostile ───────────────────────────────────────────────────────────────────────


class Wire:
    """A TCP connection's middle: hands on what it gets, keeps a copy, and may turn one bit over."""

    def __init__(self, to, alter_at=None):
        self.seen, self._alter_at = bytearray(), alter_at
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self._to = to
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        near, _ = self.listener.accept()
        while True:
            try:
                far = socket.create_connection(self._to)
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        back = threading.Thread(target=self._pass, args=(far, near, False), daemon=True)
        back.start()
        self._pass(near, far, True)
        back.join()
        near.close()
        far.close()

    def _pass(self, source, sink, kept):
        try:
            while block := source.recv(1 << 16):
                block = bytearray(block)
                if kept:
                    at = -1 if self._alter_at is None else self._alter_at - len(self.seen)
                    self.seen += block
                    if 0 <= at < len(block):
                        block[at] ^= 1
                sink.sendall(block)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def wired(crew, folder, alter_at):
    """Play TALK with party 1 reaching party 0 through a wire; return the wire and how each ended."""
    ports = free_ports(3)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    wire = Wire(("127.0.0.1", ports[0]), alter_at)
    told = scene(folder, sizes=[1 << 16]) | {"own": {"1": [wire.address, *addresses[1:]]}}
    told["meeting"] = meeting(folder, told["keys"], addresses=addresses)
    crew.start(folder, TALK, told)
    ended = crew.finish()
    wire.listener.close()
    return wire, ended


def test_what_passes_cannot_be_read(crew, tmp_path):
    wire, ended = wired(crew, tmp_path, None)
    assert [ended[rank]["is"][0] for rank in range(3)] == [[True]] * 3
    assert len(wire.seen) > 1 << 16
    assert b"party-1" in wire.seen  # the certificate goes in the clear: the wire does record
    assert b"\1" * 8 not in wire.seen


def test_what_passes_cannot_be_altered(crew, tmp_path):
    _, ended = wired(crew, tmp_path, 1 << 15)
    assert ended[0]["error"] == "RoleError: party-1 has a broken connection: bytes were altered on the way"


# ── what ends it ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("silent", [1, 3])
@pytest.mark.parametrize(("how", "timeout"), [(signal.SIGKILL, 20.0), (signal.SIGSTOP, 1.0)])
def test_peer_that_dies_or_stops_is_noticed(crew, tmp_path, silent, how, timeout):
    crew.start(tmp_path, SILENCE, scene(tmp_path, timeout, silent=silent))
    wait_for([tmp_path / f"{rank}.there" for rank in range(4)])
    others = [rank for rank in range(4) if rank != silent]
    ended, took = crew.strike(silent, how, others)
    name = "dealer" if silent == 3 else "party-1"
    whys = {"closed its connection", f"gave no answer for {timeout:g} s"}
    assert all(ended[rank]["error"].split(" ", 2)[2] in whys for rank in others)
    assert f"RoleError: {name} " in str(ended)
    assert took < (5.0 if how is signal.SIGKILL else timeout + 5.0)


def free_ports(n):
    """Return ports that nobody listened at a moment ago."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
