"""Selections by three real parties and a dealer: the true winners, once, and one clear error when a role fails."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fedgenome.errors import Refused, RoleError
from fedgenome.query import PARTIES
from fedgenome.secure import ring
from fedgenome.secure.frames import Kind
from fedgenome.secure.once import Once
from fedgenome.secure.party import ANSWERS
from fedgenome.secure.winners import noise_of, unmasked, unpack
from tests.secure.quartet import quartet, top
from tests.secure.trio import SITES, gone_within, running

pytestmark = pytest.mark.timeout(180)
TWO, THREE = SITES[:2], SITES[:3]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four")
    with quartet(folder, folder / "kept") as four:
        yield four


@pytest.fixture
def four(shared):
    """The shared parties, with no query open before or after."""
    yield shared
    shared.parties.abort()


def scores(query, sites=THREE, most=1000):
    """Return {site: its donors' summed scores}, many of them tied."""
    rng = np.random.default_rng(query.step)
    return {site: rng.integers(0, most, query.question.length) for site in sites}


@pytest.mark.parametrize(
    ("count", "winners", "most", "width"),
    [(1, 1, 1000, 32), (8, 8, 4, 32), (257, 5, 1000, 32), (100, 3, 1 << 30, 64)],
    ids=["one", "all, tied", "many", "64 bits"],
)
def test_parties_open_the_largest_in_order_and_ties_by_index(four, steps, count, winners, most, width):
    query = four.query(next(steps), count, winners, bound=float(most // 1000 + 1))
    answers = scores(query, most=most)
    assert query.width == width
    assert four.ask(query, answers) == top(answers, winners)


def test_sums_and_selections_take_turns(four, steps):
    for _ in range(2):
        summed, chosen = four.a_sum(next(steps)), four.query(next(steps), 20, 2)
        answers = scores(summed)
        four.parties.begin(summed)
        four.deliver(summed, answers)
        total = four.parties.reveal(THREE)
        assert (ring.signed(total) == sum(answers.values())).all()
        assert four.ask(chosen, answers) == top(answers, 2)


def test_noise_counts(four, steps):
    # Noise of every party is near 2·2^20/0.01, the scores below 3000: the first winner is the largest one by
    # chance 1/200, and both times by 3e-5.
    found = []
    for _ in range(2):
        query = four.query(next(steps), 200, level=0.01, bound=float(1 << 20), monotone=False)
        answers = scores(query)
        found.append(four.ask(query, answers) == top(answers, 1))
    assert not all(found)


def test_selection_opens_winners_only_and_once(four, steps):
    query = four.query(next(steps), 20, 3)
    answers = scores(query)
    found = four.ask(query, answers)
    again = four.asked(query, [THREE] * PARTIES)
    assert [reply.kind for reply in again] == [Kind.WINNERS] * PARTIES
    assert [(reply.header["winners"], len(reply.body)) for reply in again] == [(found, 0)] * PARTIES
    assert [reply.header["code"] for reply in four.asked(query, [TWO] * PARTIES)] == ["other-set"] * PARTIES
    with pytest.raises(Refused, match=r"^opened-before: party 0"):
        four.parties.begin(query)


def test_parties_told_different_sets_compute_nothing_and_go_on(four, steps):
    query = four.query(next(steps))
    answers = scores(query)
    four.parties.begin(query)
    four.deliver(query, {site: answers[site] for site in TWO})
    four.deliver(query, {SITES[2]: answers[SITES[2]]}, parties=(0, 1))
    assert four.end_each(query, [THREE, THREE, TWO]) == ["other-set"] * PARTIES
    with pytest.raises(Refused, match=r"^opened-before: party 0"):
        four.parties.begin(query)
    later = four.query(next(steps))
    assert four.ask(later, answers) == top(answers, 1)


def test_driver_that_calls_a_selection_a_sum_learns_winners_at_most(four, steps):
    query = four.query(next(steps))
    answers = scores(query)
    four.parties.begin(query)
    four.deliver(query, answers)
    with pytest.raises(RoleError, match=r"^party 0 answered something else than was asked$"):
        four.parties.reveal(THREE)


def test_set_below_the_quorum_opens_no_winner(four, steps):
    query = four.query(next(steps))
    four.parties.begin(query)
    four.deliver(query, scores(query, SITES[:1]))
    with pytest.raises(Refused, match=r"^below-quorum: party [012]"):
        four.parties.select(SITES[:1])


# ── roles that fail ──────────────────────────────────────────────────────────────────────────────


def struck_in_mid_selection(four, query, victim, how):
    """Signal one role once all have kept their noise; return the error, and after how many seconds it came."""
    first = four.query(9, 2)
    four.ask(first, scores(first))  # all have met
    four.parties.begin(query)
    four.deliver(query, scores(query))
    struck, answers = [], [four.kept / str(index) / ANSWERS for index in range(PARTIES)]

    def strike():
        while not all(query.digest.encode() in file.read_bytes() for file in answers):
            time.sleep(0.005)
        os.kill(four.pids[victim], how)
        struck.append(time.monotonic())

    threading.Thread(target=strike).start()
    with pytest.raises(RoleError) as caught:
        four.parties.select(THREE)
    return str(caught.value), time.monotonic() - struck[0]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("victim", "how", "timeout", "error"),
    [
        (1, signal.SIGKILL, 20.0, r"^party 1 ended \(signal 9\)$"),
        (3, signal.SIGSTOP, 1.0, r"^selection failed: dealer gave no answer for 1 s$"),
    ],
    ids=["party killed", "dealer stopped"],
)
def test_role_that_fails_is_named_and_nothing_is_left(tmp_path, victim, how, timeout, error):
    kept = tmp_path / "kept"
    with quartet(tmp_path, kept, timeout) as four:
        pids = four.pids
        said, took = struck_in_mid_selection(four, four.query(0, 3000, 20), victim, how)
        assert re.match(error, said)
        assert took < timeout + 3 if how is signal.SIGSTOP else took < 3
    assert not running(pids)
    assert list(tmp_path.iterdir()) == [kept]


def on_disk(kept, width):
    """Return what the winner must be by the keys and shares that the parties keep."""
    total, keys = 0, []
    for index in range(PARTIES):
        with Once(kept / str(index) / ANSWERS) as once:
            body = once.body(once.last[0])
        key, _, rest = unpack(body)
        total = total + unmasked(key, rest, width)
        keys.append(key)
    return total, keys


@pytest.mark.faults
def test_selection_that_a_dead_dealer_cut_short_gives_the_same_winners_later(tmp_path):
    kept = tmp_path / "kept"
    with quartet(tmp_path, kept) as four:
        query = four.query(0, 3000, 3, level=0.01)
        said, took = struck_in_mid_selection(four, query, 3, signal.SIGKILL)
        assert re.match(r"^dealer ended \(signal 9\)$", said) and took < 3
        assert gone_within(3, four.pids)
    total, keys = on_disk(kept, query.width)
    assert (ring.signed(total) == sum(scores(query).values())).all()
    noised = list(ring.signed(total) + sum(noise_of(query.selection, key) for key in keys))
    with quartet(tmp_path, kept) as four:
        replies = four.asked(query, [THREE] * PARTIES)
        found = [reply.header["winners"] for reply in replies]
        assert found[0] == found[1] == found[2] == one_by_one(noised)
        assert one_by_one(noised) != top(scores(query), 3)


def one_by_one(noised):
    """Return each round's largest among those left."""
    found = []
    for row in noised:
        row[found] = np.iinfo(np.int64).min
        found.append(int(np.argmax(row)))
    return found


DRIVER = """
import json, sys, time
from pathlib import Path
from fedgenome.secure.parties import Parties
folder = Path(sys.argv[1])
with Parties.start(folder, None) as parties:
    parties.keep(Path(sys.argv[2]), dealer=True)
    while len(list(folder.glob("*/*.sock"))) < 3:
        time.sleep(0.01)
    print(json.dumps([handle.process.pid for handle in parties._all]), flush=True)
    time.sleep(60)
"""


def test_neither_parties_nor_dealer_outlive_a_killed_driver_nor_leave_a_file(tmp_path):
    folder, kept = tmp_path / "run", tmp_path / "kept"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(folder), str(kept)], stdout=subprocess.PIPE) as driver:
        pids = json.loads(driver.stdout.readline())
        assert len(running(pids)) == PARTIES + 1
        os.kill(pids[0], signal.SIGKILL)  # what it made, the others remove
        driver.kill()
        assert gone_within(3, pids)
    assert not list(folder.iterdir())
