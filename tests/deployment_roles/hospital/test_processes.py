"""A real agent's process: killed and started again it repeats its answer, and tells nothing of its data anywhere."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from fedgenome.deployment.hospital import approvals, serving, site
from fedgenome.federation import agents
from fedgenome.federation.wire import Call
from fedgenome.secure.party import ANSWERS
from tests.deployment_roles.hospital.test_serving import asking
from tests.deployment_roles.hospitals import KEY, NAME, agreed, joining, settle_in, signed
from tests.federation.small import CAP, make_shard

STUDY = agreed()
WAIT = 60.0


def marked():
    """Return a shard whose every value and name can be told apart in any file."""
    shard = make_shard(CAP - 3)
    return replace(shard, donors=tuple(f"MARKER-{name}" for name in shard.donors))


def markers(shard):
    """Return what of a shard must be found nowhere: names, rows' bytes, values as text."""
    names = [b"MARKER", b"row-1"]
    texts = [repr(float(value))[:9].encode() for value in shard.x.ravel()]
    return [*names, *texts, *(row.tobytes() for row in shard.x), *(v.tobytes() for v in shard.x.ravel())]


class Agent:
    """``fedgenome site serve`` in a process of its own."""

    def __init__(self, folder, log):
        command = [sys.executable, "-W", "ignore", "-m", "fedgenome.cli", "site", "serve", str(folder / "site.toml")]
        self.process = subprocess.Popen(command, stderr=log, stdout=log)
        self._call = agents.reach(str(folder / "agent.sock"), KEY, 0, WAIT)
        deadline = time.monotonic() + WAIT
        while self("hello").header.get("site") != NAME:
            assert self.process.poll() is None and time.monotonic() < deadline, "the agent does not answer"
            time.sleep(0.05)

    def __call__(self, kind, call=None):
        return self._call(kind, call or Call(header={}))

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(WAIT)


@pytest.fixture
def hospital(tmp_path):
    shard = marked()
    config = settle_in(tmp_path, shard)
    with (tmp_path / "log").open("ab") as log:
        started = []

        def start():
            started.append(Agent(tmp_path, log))
            return started[-1]

        yield config, shard, start
        for agent in started:
            agent.process.kill()
            agent.process.wait()


def test_answers_and_ledger_survive_a_kill_and_no_file_or_log_tells_of_data(hospital, tmp_path):
    config, shard, start = hospital
    agent = start()
    assert agent("join", joining(STUDY)).refusal[0] == "not-approved"
    approvals.approve(config, signed(STUDY))
    assert agent("join", joining(STUDY)).refusal is None
    first = agent("ask", asking())
    assert agent.end(signal.SIGKILL) == -signal.SIGKILL
    agent = start()
    agent("join", joining(STUDY))
    again = agent("ask", asking())
    assert {n: a.tobytes() for n, a in again.arrays.items()} == {n: a.tobytes() for n, a in first.arrays.items()}
    assert first.arrays and agent("ask", asking(attempt=1)).refusal[0] == "outside-plan"
    assert (config.state / site.LEDGER).read_text().count('"charge"') == 1
    assert agent.end(signal.SIGTERM) == 0
    assert not (config.state / serving.SERVING).exists() and not config.socket.exists()
    assert told(config, tmp_path, shard) == []
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    said = [event for event in events if event != "approved"]  # the first process may be killed before it looks again
    assert said == ["serving", "waiting for an approval", "serving", "ended"] and events[-2] == "approved"


def told(config, folder, shard):
    """Return which file tells what of a shard."""
    files = [path for path in config.state.rglob("*") if path.is_file() and path.name != ANSWERS] + [folder / "log"]
    assert len(files) >= 8
    return [(path.name, marker) for path in files for marker in markers(shard) if marker in path.read_bytes()]


def test_search_finds_what_was_planted(settled, tmp_path):
    shard = marked()
    config = settled(shard)
    for number in range(8):
        (config.state / f"file-{number}").touch()
    (config.state / "dump").write_bytes(np.float64(1).tobytes() + shard.x[7].tobytes())
    (tmp_path / "log").write_text(f"failed at {float(shard.x[3, 1])}")
    assert {name for name, _ in told(config, tmp_path, shard)} == {"dump", "log"}
