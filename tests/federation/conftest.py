"""Site agents and jobs of the small study."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedgenome.federation.coordinator import Job
from fedgenome.federation.site import SiteAgent, pinned
from fedgenome.methods import registry
from fedgenome.privacy.ledger import Budget, Ledger
from fedgenome.secure.once import Once
from fedgenome.secure.parties import Parties
from fedgenome.streams import Root
from fedgenome.study import Study
from tests.federation.small import SITE_IDS, make_plan, make_shard


@pytest.fixture
def agent(tmp_path: Path):
    """Build site agents; their ledgers are closed afterwards."""
    with ExitStack() as stack:

        def build(
            study: Study, name: str = "north", *, donors: int = 20, seed: int | None = None, **changes
        ) -> SiteAgent:
            budget = changes.pop("budget", Budget(epsilon=100, delta=0.1) if study.privacy.trust != "none" else None)
            number = len(list(tmp_path.glob("*.jsonl")))
            ledger = stack.enter_context(Ledger(tmp_path / f"{name}-{number}.jsonl", "account", budget))
            once = changes.pop("once", None) or stack.enter_context(Once(tmp_path / f"{name}-{number}.answers"))
            given = {
                "root": Root.of(seed, "site", name),
                "ledger": ledger,
                "admit": pinned(study.digest),
                "public": True,
            }
            given |= {"identity": SITE_IDS[name], "once": once}
            shard = make_shard(donors, first=100 * (name == "south"))
            return SiteAgent(name, lambda _: shard, **(given | changes))

        yield build


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """Build a coordinator's job."""

    def build(
        study: Study, parties: Parties | None = None, seed: int | None = None, noise: float = 4.0, **changes
    ) -> Job:
        methods = registry.build_all(study)
        given = {
            "study": study,
            "plan": make_plan(study, noise),
            "run": "run-1",
            "methods": {label: method.at(noise) for label, method in methods.items()},
            "parties": parties,
            "folder": tmp_path / "state",
            "root": Root.of(seed, "coordinator"),
        }
        return Job(**(given | changes))

    return build
