"""A daemon and its run's process: which run is open, which process is kept. The dealer's starts fastest."""

import signal
import time

import pytest

from fedgenome.deployment.compute.dealer import DealerConfig, DealerDaemon
from fedgenome.federation.wire import Call
from fedgenome.secure.generators import DEALER
from tests.deployment_roles.deployed import JOINING, RUN, a_log, facts, free_addresses

OTHER = {"run": "run-2"}


@pytest.fixture
def dealing(tmp_path):
    """A dealer's daemon that no party answers, by how long a run may be idle."""
    made = []

    def build(idle_seconds=3600.0):
        told = facts(tmp_path, DEALER, free_addresses()) | {"idle_seconds": idle_seconds}
        made.append(DealerDaemon(DealerConfig.model_validate(told), a_log()[0]))
        return made[-1]

    yield build
    for one in made:
        one.close()


def joined(daemon, **changes):
    return daemon.handle("join", Call(header=JOINING | changes))


def process(daemon):
    return daemon._child._handles[0].process


def test_a_healthy_process_is_kept_and_a_dead_one_replaced(dealing):
    daemon = dealing()
    assert joined(daemon).header == {"site": "dealer", "fresh": True}
    first = process(daemon)
    assert joined(daemon).header["fresh"] is False and process(daemon) is first
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert joined(daemon).header["fresh"] is True and process(daemon) is not first


def test_another_run_waits_for_a_close_that_ends_the_process(dealing):
    daemon = dealing()
    joined(daemon)
    first = process(daemon)
    assert joined(daemon, **OTHER).refusal[0] == "busy"
    assert daemon.handle("close", Call(header=OTHER)).refusal[0] == "other-run" and first.poll() is None
    assert daemon.handle("close", Call(header={"run": RUN})).refusal is None and first.poll() is not None
    assert joined(daemon, **OTHER).header["fresh"] is True


def test_an_idle_run_blocks_nobody(dealing):
    daemon = dealing(idle_seconds=0.01)
    joined(daemon)
    first = process(daemon)
    time.sleep(0.02)
    assert joined(daemon, **OTHER).header["fresh"] is True and first.poll() is not None


def test_the_dealer_takes_no_frames(dealing):
    daemon = dealing()
    joined(daemon)
    assert daemon.handle("frames", Call(header={})).refusal == ("unknown-kind", "dealer takes no frames")


def test_leaving_ends_the_process(dealing):
    with dealing() as daemon:
        joined(daemon)
        first = process(daemon)
    assert first.poll() is not None
