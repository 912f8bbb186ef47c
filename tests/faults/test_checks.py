"""The checks of a struck run reject folders in which something was paid, said or opened that should not have been."""

import json
import shutil
from types import SimpleNamespace

import pytest

from fedgenome.privacy import replay
from fedgenome.privacy.ledger import Ledger
from fedgenome.secure.once import Once
from fedgenome.secure.party import ANSWERS
from tests.faults import checks
from tests.faults.scene import play_out
from tests.faults.schedule import FIXED
from tests.faults.study import RUN


@pytest.fixture(scope="module")
def played(nursery, tmp_path_factory):
    return play_out(nursery, tmp_path_factory.mktemp("played"), FIXED[4], 10.0)[0]


@pytest.fixture
def play(played, tmp_path):
    """A copy of a run that went well, to be spoilt."""
    folder = shutil.copytree(played.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    return SimpleNamespace(folder=folder, schedule=played.schedule, study=played.study)


def rewrite(play, change):
    path = play.folder / "log.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(entry)) + "\n" for entry in entries))


def test_a_sum_of_other_sites_is_found(play):
    assert checks.sums_are_exact(play)
    rewrite(play, lambda entry: entry | ({"sites": entry["sites"][1:]} if entry["event"] == "opened" else {}))
    assert not checks.sums_are_exact(play)


def test_a_state_that_learnt_from_another_sum_is_found(play):
    shutil.copy(play.folder / "state" / "one.safetensors", play.folder / "state" / "two.safetensors")
    assert not checks.sums_are_exact(play)


def reopen(play, lines):
    """Take the last ``lines`` off north's ledger, the run's close first; return its path."""
    path = play.folder / "sites" / "north" / "ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-lines]))
    return path


def test_a_charge_for_nothing_is_found(play):
    assert checks.site_paid_once(play, "north")
    with Ledger(reopen(play, 1), "people of north") as ledger:
        form = replay.verify(ledger.path).books.runs[RUN].plan.mechanisms[0]
        ledger.charge(RUN, form)
    assert not checks.site_paid_once(play, "north")


def test_an_answer_without_a_charge_is_found(play):
    reopen(play, 2)
    assert not checks.site_paid_once(play, "north")


def test_another_answer_than_the_one_first_sent_is_found(play):
    assert checks.site_repeats(play, "north")
    rewrite(play, lambda entry: entry | ({"sha256": "0" * 64} if entry.get("site") == "north" else {}))
    assert not checks.site_repeats(play, "north")


def test_a_lost_share_of_a_sum_is_found(play):
    assert checks.parties_repeat(play)
    path = play.folder / "parties" / "1" / ANSWERS
    body = checks.told(path)[1]
    path.write_bytes(path.read_bytes().replace(body, bytes(len(body))))
    assert not checks.parties_repeat(play)


def test_an_attempt_opened_for_another_set_is_found(play):
    assert checks.parties_opened_one_set(play)
    with Once(play.folder / "parties" / "1" / ANSWERS) as once:
        once.record(f'["{RUN}","three",0,1]', "another set", [b"words"])
    assert not checks.parties_opened_one_set(play)


def test_a_traceback_is_found(play):
    assert checks.complaints(play) == {}
    (play.folder / "party-0.err").write_text("Traceback (most recent call last):\n")
    assert set(checks.complaints(play)) == {"party-0.err"}
