"""Parties that fall silent or die, drivers that do, and what outlives them: nothing but what was kept."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Listener

import pytest

from fedgenome.errors import RoleError, SpecError
from fedgenome.query import PARTIES
from fedgenome.secure import frames, replies, ring
from fedgenome.secure.handles import Handle
from fedgenome.secure.parties import DEALER, Parties
from fedgenome.secure.party import IDENTITY
from tests.secure.trio import (
    NOISE,
    PARTY_IDS,
    SITES,
    a_query,
    ask,
    asked,
    gone_within,
    joined,
    pids,
    refused,
    running,
    sealed,
    started,
    vectors,
)

pytestmark = pytest.mark.timeout(180)


def test_folder_with_a_key_that_others_may_read_starts_no_dealer(tmp_path):
    (tmp_path / DEALER).mkdir()
    (tmp_path / DEALER / IDENTITY).touch(0o644)
    with Parties((), None, 1.0) as parties:
        with pytest.raises(SpecError, match="only its owner can use"):
            parties.keep(tmp_path, dealer=True)
        assert parties._dealer is None


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


def test_party_that_falls_silent_within_a_reply_is_named(tmp_path):
    path, key = str(tmp_path / "0.sock"), b"key"
    with Listener(path, "AF_UNIX", authkey=key) as listener:
        thread = threading.Thread(target=answer_half, args=(listener,))
        thread.start()
        hasty = Parties.connect(json.dumps([[path, key.hex()]]), timeout_seconds=0.5)
        with hasty, pytest.raises(RoleError, match=r"^party 0 gave no answer for 0\.5 s$"):
            hasty.ready()
        thread.join(10)
        assert not thread.is_alive()


def answer_half(listener):
    with listener.accept() as link:
        frames.receive(link)
        os.write(link.fileno(), frames.LENGTH.pack(1000) + bytes(500))
        with contextlib.suppress(EOFError):
            frames.receive(link)  # until the other end hangs up


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
        handles = [Handle(index=i, path="", key=b"", process=process) for i, process in enumerate(processes)]
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
        assert (ring.signed(sum(replies.words(reply.body, query) for reply in again)) == first).all()
        assert asked(parties, 2, query, SITES[:3]).header["code"] == "other-set"
        ask(parties, publics, replace(query, attempt=1), vectors(query, SITES[:3]))
