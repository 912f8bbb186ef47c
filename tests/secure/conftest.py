"""Party processes that tests share: starting three takes seconds."""

import pytest

from tests.secure.trio import SEED, started


@pytest.fixture(scope="session")
def three(tmp_path_factory):
    with started(tmp_path_factory.mktemp("three")) as pair:
        yield pair


@pytest.fixture(scope="session")
def seeded(tmp_path_factory):
    with started(tmp_path_factory.mktemp("seeded"), seed=SEED) as pair:
        yield pair


@pytest.fixture
def trio(three):
    """The shared parties, with no query open before or after."""
    yield three
    three[0].abort()


@pytest.fixture(scope="session")
def steps():
    """Steps that no test has used: the shared parties open each once."""
    return iter(range(10_000))
