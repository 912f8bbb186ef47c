"""Settings that every test runs under."""

import os
from pathlib import Path

import hypothesis
import pytest

# Before torch and Flower are first imported: one thread each on shared cores, no calls home.
os.environ.update(OMP_NUM_THREADS="1", FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1")

# A slow machine is no failure: pytest-timeout ends what hangs.
hypothesis.settings.register_profile("fedgenome", deadline=None)
hypothesis.settings.load_profile("fedgenome")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return Path(__file__).resolve().parent.parent
