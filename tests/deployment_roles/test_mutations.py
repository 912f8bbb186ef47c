"""Mutated calls at a role's socket, from a caller that holds its key: each is refused, and the role goes on."""

import socket
import threading
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Client
from pathlib import Path

import pytest

from fedgenome.deployment.hospital import approvals, site
from fedgenome.federation import agents
from fedgenome.federation.wire import Call
from tests.deployment import mutations
from tests.deployment_roles.hospital.test_serving import asking
from tests.deployment_roles.hospitals import KEY, agreed, joining, signed

STUDY = agreed()


@pytest.fixture
def listening(tmp_path):
    """Serve a handle on a socket; return what sends bytes there in a call's place and decodes the answer."""
    with ExitStack() as stack:

        def serve(handle):
            stack.enter_context(agents.listening([handle], tmp_path / "mutated.sock", KEY))
            return partial(send, str(tmp_path / "mutated.sock"))

        yield serve


def send(path, blob):
    with Client(path, "AF_UNIX", authkey=KEY) as link:
        link.send_bytes(blob)
        while not (answer := link.recv_bytes()):
            pass  # a sign of life
        return agents._decode(answer)[2]


def calls():
    """Return a coordinator's true messages to a hospital."""
    told = {"hello": Call(header={}), "join": joining(STUDY), "ask": asking(STUDY), "close": Call(header={})}
    return [agents._encode(kind, 0, call) for kind, call in told.items()]


def held():
    """Return how many threads and files this process has."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def test_a_hospital_answers_a_thousand_mutated_calls_by_refusals_and_charges_nothing(settled, desk, listening):
    config = settled()
    approvals.approve(config, signed(STUDY))
    ask = listening(desk(config).handle)
    before = held()
    answers = [ask(blob) for _, blob in mutations.mutants(calls(), 1000, seed=1)]
    taken = [answer for answer in answers if answer.refusal is None]
    assert all(answer.header == {"site": config.name} and not answer.arrays for answer in taken)  # a hello survived
    assert len(taken) < 100 and (config.state / site.LEDGER).read_text().count("\n") == 1
    assert all(now <= was + 2 for now, was in zip(held(), before, strict=True))
    assert ask(agents._encode("join", 0, joining(STUDY))).refusal is None


@pytest.mark.parametrize("header", ["[]", "3", "null", "[" * 100_000, '{"a":' * 100_000, "1e999"])
def test_a_header_that_is_no_object_is_malformed(listening, header):
    ask = listening(lambda kind, call: Call(header={"echo": kind}))
    told = agents._encode("hello", 0, Call(header={"x": "HERE"}))
    body = told[8:].replace(b'{\\"x\\": \\"HERE\\"}', header.replace('"', '\\"').encode())
    assert body != told[8:] and ask(len(body).to_bytes(8, "little") + body).refusal[0] == "malformed"


def test_more_silent_callers_than_are_let_in_keep_nobody_out_for_long(listening, tmp_path, monkeypatch):
    monkeypatch.setattr(agents, "_GREETING_SECONDS", 0.2)
    ask = listening(lambda kind, call: Call(header={"echo": kind}))
    before = threading.active_count()
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(agents._CALLERS)]
        for one in silent:
            one.connect(str(tmp_path / "mutated.sock"))
        assert threading.active_count() <= before + agents._CALLERS
        assert ask(agents._encode("hello", 0, Call(header={}))).header == {"echo": "hello"}
