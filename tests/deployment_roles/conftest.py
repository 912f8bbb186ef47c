"""Hospitals and what stands behind their sockets."""

from contextlib import ExitStack
from functools import partial

import pytest

from fedgenome.deployment.hospital import approvals, journal, metrics, serving, site
from fedgenome.deployment.hospital.journal import Journal
from fedgenome.deployment.hospital.metrics import Metrics
from tests.deployment_roles import hospitals


@pytest.fixture
def settled(tmp_path):
    """Make a hospital in a folder of its own."""
    return partial(hospitals.settle_in, tmp_path)


@pytest.fixture
def desk():
    """Open desks; closed afterwards."""
    with ExitStack() as stack:

        def build(config, schedule=None, around=lambda opened: opened):
            opened = stack.enter_context(site.opened(config, partial(approvals.admit, config)))
            book = stack.enter_context(Journal(config.state / journal.FILE))
            given = (config, around(opened), book, Metrics(config.state / metrics.FILE))
            return serving.Desk(*given, schedule or serving.Schedule(seconds=1e-6))

        yield build
