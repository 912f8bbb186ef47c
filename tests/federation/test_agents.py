"""A relay and an agent, either of which may be gone at any moment: the other gets an answer, or goes on."""

import socket
import threading
from multiprocessing.connection import Client

import pytest
from flwr.app import Context, RecordDict

from fedgenome.federation import agents
from fedgenome.federation.wire import Call

KEY = bytes(32)


def echo(kind, call):
    return Call(header={"echo": kind})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "agent.sock"


def asked(path, seconds=20.0, key=KEY, agent=0):
    return agents.reach(str(path), key, agent, seconds)("hello", Call(header={}))


def test_an_agent_is_reached_by_number(path):
    with agents.listening([echo], path, KEY):
        assert asked(path).header == {"echo": "hello"}
        assert asked(path, agent=1).refusal[0] == "unknown-site"


def test_an_agent_that_is_not_there_is_unreachable(path):
    assert asked(path).refusal == ("unreachable", "the site's agent cannot be reached: FileNotFoundError")


def test_an_agent_that_says_nothing_is_unreachable_in_time(path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        assert asked(path, seconds=0.2).refusal == ("unreachable", "the site's agent gave no answer for 0.2 s")


def test_a_caller_without_the_key_is_told_nothing_and_harms_nobody(path):
    with agents.listening([echo], path, KEY):
        assert asked(path, key=b"another key").refusal[1].startswith("the relay's socket.key is not its agent's")
        assert asked(path).refusal is None


def test_a_caller_that_dies_while_it_is_greeted_harms_nobody(path):
    with agents.listening([echo], path, KEY):
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as caller:
                caller.connect(str(path))
        assert asked(path).refusal is None


def test_a_caller_that_stops_while_it_is_greeted_keeps_nobody_waiting(path):
    with agents.listening([echo], path, KEY), socket.socket(socket.AF_UNIX) as stopped:
        stopped.connect(str(path))
        assert asked(path, seconds=5).refusal is None


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_caller_that_leaves_before_its_answer_harms_nobody(path):
    left, done = threading.Event(), threading.Event()

    def slow(kind, call):
        left.wait(20)
        done.set()
        return Call(header={"long": "x" * 1_000_000})

    with agents.listening([slow], path, KEY):
        with Client(str(path), "AF_UNIX", authkey=KEY) as link:
            link.send_bytes(agents._encode("hello", 0, Call(header={})))
        left.set()
        assert done.wait(20) and asked(path).refusal is None


def test_an_agent_takes_the_place_of_a_killed_one(path):
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert path.exists()
    with agents.listening([echo], path, KEY):
        assert asked(path).refusal is None


def context(**config):
    return Context(run_id=1, node_id=1, node_config=config, state=RecordDict(), run_config={})


@pytest.mark.parametrize("told", ["key", "file"])
def test_a_relay_finds_the_only_agent_of_its_socket(path, tmp_path, monkeypatch, told):
    (tmp_path / "socket.key").write_text(KEY.hex() + "\n")
    monkeypatch.setenv(agents.ADDRESS, str(path))
    monkeypatch.setenv(*{"key": (agents.KEY, KEY.hex()), "file": (agents.KEY_FILE, str(tmp_path / "socket.key"))}[told])
    with agents.listening([echo], path, KEY):
        assert agents.by_environment(context())("hello", Call(header={})).header == {"echo": "hello"}


@pytest.mark.parametrize("key", [None, "no key"])
def test_a_relay_without_a_key_says_so_and_quotes_nothing(path, tmp_path, monkeypatch, key):
    monkeypatch.setenv(agents.ADDRESS, str(path))
    monkeypatch.setenv(agents.KEY_FILE, str(tmp_path / "socket.key"))
    if key is not None:
        (tmp_path / "socket.key").write_text(key)
    code, rule = agents.by_environment(context())("hello", Call(header={})).refusal
    assert code == "unreachable" and "socket or key" in rule and str(tmp_path) not in rule
