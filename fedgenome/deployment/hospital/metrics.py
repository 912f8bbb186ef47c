"""What a site counts, as a text file for a collector to pick up: no port is opened for it."""

from __future__ import annotations

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, write_to_textfile

from fedgenome.privacy.books import Budget
from fedgenome.privacy.ledger import Ledger

FILE = "metrics.prom"  # in the state folder


class Metrics:
    """Counts of one process, from zero at its start; budgets are the ledger's.

    Args:
        path: The file, replaced whole at every :meth:`write`.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._registry = path, CollectorRegistry()
        site, to = "fedgenome_site", self._registry
        self.calls = Counter(f"{site}_calls", "calls, by kind and outcome", ("kind", "outcome"), registry=to)
        self.late = Counter(f"{site}_late", "answers that missed their first tick: raise schedule_seconds", registry=to)
        self.approved = Gauge(f"{site}_approved_studies", "studies approved, the policy willing", registry=to)
        self._spent = Gauge(f"{site}_spent", "budget of which a share may have left", ("of",), registry=to)
        self._left = Gauge(f"{site}_left", "budget that no plan holds", ("of",), registry=to)
        Gauge(f"{site}_start_time_seconds", "when this process began to serve, Unix time", registry=to).set(time.time())

    def write(self, ledger: Ledger, budget: Budget | None) -> None:
        """Bring the file up to date."""
        for of, spent in zip(("epsilon", "delta"), ledger.spent(), strict=True):
            self._spent.labels(of).set(spent)
        if budget is not None:
            for of, left in zip(("epsilon", "delta"), budget.left(ledger.reserved()), strict=True):
                self._left.labels(of).set(left)
        write_to_textfile(str(self._path), self._registry)
