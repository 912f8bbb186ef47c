"""Daemons that tests share: their processes take seconds to start."""

from contextlib import ExitStack

import pytest

from tests.deployment_roles.deployed import PINNING, Deployed, remote_over


@pytest.fixture(scope="package")
def deployed(tmp_path_factory):
    with ExitStack() as stack:
        yield Deployed(tmp_path_factory.mktemp("deployed"), stack)


@pytest.fixture
def joined(deployed):
    """A coordinator's end of the shared daemons, whose run stays open, and the parties' keys of it."""
    remote = remote_over(deployed.post)
    remote.ready()
    return remote, remote.pin(**PINNING)


@pytest.fixture(scope="session")
def steps():
    """Steps that no test has used: the shared parties open each once."""
    return iter(range(10_000))
