"""The process that forks all roles: importing what they need takes seconds."""

import pytest

from tests.faults.scene import Nursery


@pytest.fixture(scope="session")
def nursery():
    with Nursery() as forks:
        yield forks
