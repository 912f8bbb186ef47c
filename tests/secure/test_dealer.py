"""The dealer makes tuples right, gives nothing else away, and goes when it should. Real processes at the end."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedgenome
from fedgenome.errors import SpecError, WireError
from fedgenome.secure import dealer
from fedgenome.secure.dealer import MOST, REQUEST, Dealer, Function, Tuples
from fedgenome.secure.identity import Identity
from fedgenome.secure.links import Kind
from fedgenome.streams import Stream
from tests.secure.crew import Crew, private, scene, wait_for

KEYS = [bytes([rank]) * 32 for rank in range(3)]
sizes = st.one_of(st.integers(1, 40), st.sampled_from([dealer._BLOCK - 1, dealer._BLOCK, dealer._BLOCK + 1]))


class Line:
    """A party's connection to a dealer in the same process."""

    def __init__(self, rank, server):
        self.rank, self.server, self.room = rank, server, None

    def key(self, rank, purpose):
        assert (rank, purpose) == (3, "tuples")
        return KEYS[self.rank]

    def expect(self, rank, kind, room):
        assert (self.rank, rank, kind) == (0, 3, Kind.TUPLE)
        self.room = room

    def send(self, rank, kind, request):
        assert (self.rank, rank, kind) == (0, 3, Kind.REQUEST)
        self.room[:] = self.server.complete(*dealer._parse(bytearray(request))).data.cast("B")


def dealt(function, counts, keys=KEYS):
    """Return, for each of several requests, every party's shares."""
    server = Dealer([Stream(key) for key in keys])
    parties = [Tuples(Line(rank, server)) for rank in range(3)]
    return [[party.draw(function, n) for party in parties] for n in counts]


def opened(function, shares):
    """Return what the shares of each component stand for."""
    a, b, c = zip(*shares, strict=True) if function is not Function.BIT else (*zip(*shares, strict=True), None)
    if function is Function.PRODUCT:
        return [np.sum(parts, axis=0, dtype=np.uint64) for parts in (a, b, c)]
    xor = [np.bitwise_xor.reduce(parts) for parts in (a, b, c) if parts]
    return xor if function is Function.AND else [xor[0], np.sum(b, axis=0, dtype=np.uint64)]


@given(counts=st.lists(sizes, min_size=1, max_size=3))
def test_products_are_products(counts):
    for shares in dealt(Function.PRODUCT, counts):
        a, b, c = opened(Function.PRODUCT, shares)
        assert (a * b == c).all()


@given(counts=st.lists(sizes, min_size=1, max_size=3))
def test_ands_are_ands(counts):
    for shares in dealt(Function.AND, counts):
        a, b, c = opened(Function.AND, shares)
        assert (a & b == c).all()


@given(counts=st.lists(sizes, min_size=1, max_size=3))
def test_bits_are_one_bit_shared_in_two_ways(counts):
    for shares in dealt(Function.BIT, counts):
        bit, word = opened(Function.BIT, shares)
        assert (bit == word).all()
        assert bit.max() <= 1


@pytest.mark.parametrize("function", Function)
def test_dealer_with_another_stream_makes_no_tuples(function):
    ((shares,), (twin,)) = dealt(function, [64]), dealt(function, [64], [*KEYS[:2], bytes(32)])
    assert all((mine == theirs).all() for mine, theirs in zip(shares[1], twin[1], strict=True))
    parts = opened(function, twin)
    made = {Function.PRODUCT: np.multiply, Function.AND: np.bitwise_and}.get(function, lambda bit: bit)(*parts[:-1])
    assert (made != parts[-1]).mean() > 0.3


@pytest.mark.parametrize("function", Function)
def test_shares_of_every_party_are_uniform_words(function):
    # Each of at most 64·9 bit positions is 1 within 5 standard deviations: 3e-4 for all, on fixed streams.
    n = 20_000
    ((shares),) = dealt(function, [n])
    for component in [words for party in shares for words in party]:
        bits = np.unpackbits(component.view(np.uint8), bitorder="little").reshape(n, 64).sum(0)
        used = bits[:1] if function is Function.BIT and component.max() <= 1 else bits
        assert (abs(used - n / 2) < 5 * np.sqrt(n / 4)).all()


def test_tuples_are_never_repeated():
    ((first, second),) = [dealt(Function.AND, [64, 64])]
    assert not {int(word) for party in first for word in party[0]} & {int(word) for p in second for word in p[0]}


@pytest.mark.parametrize("n", [0, -1, MOST + 1])
def test_party_asks_for_a_possible_number(n):
    with pytest.raises(SpecError, match="expected 1 to"):
        dealt(Function.AND, [n])


@pytest.mark.parametrize("request_", [(0, 1), (4, 1), (255, 1), (1, 0), (2, MOST + 1), (3, 2**64 - 1)])
def test_request_that_makes_no_sense_is_refused(request_):
    with pytest.raises(WireError, match=r"request: expected a function 1 to 3 and 1 to \d+ tuples"):
        dealer._parse(bytearray(REQUEST.pack(*request_)))


def test_dealer_runs_without_torch_or_crypten():
    code = "import sys, fedgenome.secure.dealer; print({'torch', 'crypten', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "{'numpy'}\n"


# ── as a process ─────────────────────────────────────────────────────────────────────────────────

DRAW = """
from pathlib import Path
import time
from fedgenome.secure.dealer import REQUEST, Function, Tuples
from fedgenome.secure.links import Kind
from tests.secure.crew import join

def main(rank, told):
    with join(rank, told) as links:
        Path(told["folder"], f"{rank}.there").touch()
        if told["what"] == "nonsense":
            if rank == 0:
                links.send(3, Kind.REQUEST, memoryview(REQUEST.pack(9, 9)))
                links.expect(3, Kind.TUPLE, memoryview(bytearray(72)))
                links.flush()
            return None
        if told["what"] == "wait" and rank == 0:
            time.sleep(1.0)
        shares = Tuples(links).draw(Function.AND, told["n"])
        links.flush()
        return [share.tolist() for share in shares]
"""


@pytest.fixture(scope="module")
def crew():
    with Crew() as crew:
        yield crew


def start(told, stderr=None):
    """Start a real dealer for a scene, by its one line of configuration."""
    command = [sys.executable, "-W", "error", "-P", "-m", "fedgenome.secure.dealer"]
    env = os.environ | {"PYTHONPATH": str(Path(fedgenome.__file__).parent.parent)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    file = Path(told["folder"]) / "dealer.pem"
    Identity._of(private(told["keys"][3])).save(file)
    config = {"meeting": told["meeting"], "identity": str(file), "timeout_seconds": told["timeout"]}
    process.stdin.write(json.dumps(config).encode() + b"\n")
    process.stdin.flush()
    return process


def end(process, seconds=10.0):
    """Wait for a dealer to end by itself; return its exit code and what it said."""
    try:
        code = process.wait(seconds)
    finally:
        process.kill()
        process.stdin.close()
    with process.stderr:
        return code, process.stderr.read().decode()


def test_dealer_serves_three_parties_and_leaves_with_them(crew, tmp_path):
    told = scene(tmp_path, what="draw", n=1000)
    process = start(told)
    played = crew.play(tmp_path, DRAW, told, (0, 1, 2))
    a, b, c = opened(Function.AND, [[np.array(words, np.uint64) for words in played[rank]] for rank in range(3)])
    assert (a & b == c).all()
    assert end(process) == (0, "")


def test_dealer_ends_on_nonsense_and_says_so(crew, tmp_path):
    told = scene(tmp_path, what="nonsense")
    process = start(told)
    crew.start(tmp_path, DRAW, told, (0, 1, 2))
    assert crew.finish()[0]["error"] == "RoleError: dealer closed its connection"
    code, said = end(process)
    assert (code, said.count("\n")) == (1, 1)
    assert said.startswith("dealer: request: expected a function 1 to 3")


@pytest.mark.parametrize(("how", "timeout"), [(signal.SIGKILL, 20.0), (signal.SIGSTOP, 1.0)])
def test_party_notices_that_the_dealer_died_or_stopped(crew, tmp_path, how, timeout):
    told = scene(tmp_path, timeout, what="wait", n=1000)
    process = start(told)
    crew.start(tmp_path, DRAW, told, (0, 1, 2))
    wait_for([tmp_path / f"{rank}.there" for rank in range(3)])
    process.send_signal(how)
    ended = crew.finish()
    why = "closed its connection" if how is signal.SIGKILL else "gave no answer for 1 s"
    assert ended[0]["error"] == f"RoleError: dealer {why}"
    process.kill()
    end(process)


def test_dealer_ends_with_whoever_started_it(tmp_path):
    process = start(scene(tmp_path))
    time.sleep(0.2)
    process.stdin.close()
    assert end(process) == (0, "")


def test_request_s_layout_is_the_documented_one():
    assert struct.calcsize(">BQ") == REQUEST.size
    assert ">BQ" in dealer.__doc__
