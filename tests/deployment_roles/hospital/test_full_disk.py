"""A hospital whose disk is full: it says so, charges nothing, and goes on where it was once there is room.

The limit is the operating system's own on the size of a file: no write is made up.
"""

import contextlib
import resource
import subprocess
import sys

import pytest

from fedgenome.deployment.hospital import approvals
from fedgenome.errors import Refused, RoleError
from fedgenome.secure.party import ANSWERS
from tests.deployment_roles.hospital.test_serving import STUDY, asking
from tests.deployment_roles.hospitals import joining, signed
from tests.federation.test_site import query_of


@contextlib.contextmanager
def files_of_at_most(n_bytes):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def counter(settled, desk):
    config = settled()
    approvals.approve(config, signed(STUDY))
    return config, desk(config)


def charges(config):
    return (config.state / "ledger.jsonl").read_text().count('"charge"')


def test_question_that_cannot_be_kept_is_refused_before_it_is_charged_and_answered_once_there_is_room(counter):
    config, desk = counter
    desk.handle("join", joining(STUDY))
    held = (config.state / ANSWERS).stat().st_size
    query = asking()
    with files_of_at_most(held):
        desk._site.agent._room = held  # the longest answer so far took as much: this one needs as much again
        refused = desk.handle("ask", query)
        assert refused.refusal[0] == "disk-full" and not refused.arrays and charges(config) == 0
        assert desk.handle("join", joining(STUDY)).refusal[0] == "disk-full"
    assert desk.handle("ask", query).arrays and charges(config) == 1
    desk.check()


def test_ledger_that_could_not_be_written_ends_the_agent_by_name(counter):
    config, desk = counter
    desk.handle("join", joining(STUDY))
    full = files_of_at_most((config.state / "ledger.jsonl").stat().st_size)
    with full, pytest.raises(Refused, match="ledger-closed"):
        desk._site.ledger.charge("run-1", query_of(STUDY).question.mechanism)
    with pytest.raises(RoleError, match=rf"{config.state}: expected room to write, .* MiB free\); free some"):
        desk.check()
    assert charges(config) == 0


def test_first_join_on_a_full_disk_is_refused_and_reserves_nothing(counter):
    config, desk = counter
    with files_of_at_most(1 << 10):
        assert desk.handle("join", joining(STUDY)).refusal[0] == "journal-closed"
    assert desk.handle("join", joining(STUDY)).refusal is None
    assert (config.state / "ledger.jsonl").read_text().count('"reserve"') == 1


def test_agent_that_cannot_write_says_so_in_one_line_and_does_not_serve(settled, tmp_path):
    settled()
    command = [sys.executable, "-m", "fedgenome.cli", "site", "serve", str(tmp_path / "site.toml")]
    with files_of_at_most(1 << 12):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 4 and "state: expected room to write, File too large" in line
