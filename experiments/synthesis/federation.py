"""The real federation, in this process: site agents, three parties in processes of their own, the coordinator."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from experiments.synthesis import cohorts
from experiments.synthesis.loop import Kind
from fedgenome import federate
from fedgenome.experiment import Experiment
from fedgenome.federation.site import SiteAgent
from fedgenome.federation.wire import Call, refusal
from fedgenome.prepare import Prepared, prepare
from fedgenome.query import Array
from fedgenome.streams import Root


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """What one run gave.

    Attributes:
        arrays: The method's release.
        seconds: From the first query to the last, parties started before.
        cpu_seconds: Of the coordinator and all sites; parties have processes of their own.
        uploaded: Bytes that all sites sent.
        queries: Queries answered.
    """

    arrays: Mapping[str, Array]
    seconds: float
    cpu_seconds: float
    uploaded: int
    queries: int


def study(
    kind: Kind,
    epsilon: float,
    cohort: Mapping[str, Any],
    bound: int,
    delta: float,
    deals: Mapping[str, Any],
    *,
    colluders: int = 0,
    quorum: int | None = None,
) -> Experiment:
    """Return the experiment of one method under ``distributed``.

    Args:
        cohort: Fields of its :class:`~fedgenome.cohort.expression.CohortSpec`.
        bound: Public bound on its donors in training, and the cap of every site.
        deals: Fields of its :class:`~fedgenome.cohort.split.SplitSpec`.
        quorum: Fewest sites whose sum is opened; None: all.
    """
    privacy = {"trust": "distributed", "epsilon": epsilon, "delta": delta, "colluders": colluders, "retries": 0.0}
    caps = {"site_cap": bound, "donors_bound": bound} | ({} if quorum is None else {"quorum": quorum})
    return Experiment.model_validate(
        {
            "name": "synthesis",
            "cohort": dict(cohort),
            "split": dict(deals),
            "caps": caps,
            "privacy": privacy,
            "methods": [kind.spec.model_dump()],
        }
    )


def prepared(
    name: str, kind: Kind, epsilon: float, seed: int, delta: float, *, quorum: int | None = None, **changes: Any
) -> Prepared:
    """Return a public cohort's study, dealt as :func:`experiments.synthesis.cohorts.dealt` deals it."""
    source = cohorts.SOURCES[name]
    deals = {"controls": cohorts.TEST, **source.deals, **changes}
    told = cohorts.spec(name).model_dump()
    asked = study(kind, epsilon, told, source.donors_bound, delta, deals, quorum=quorum)
    return prepare(asked, Root.simulation(seed, "split").stream("split").generator())


@dataclass(slots=True, kw_only=True)
class _Lost:
    """A site agent that answers some questions, then none: its hospital's machine is gone."""

    agent: SiteAgent
    left: int

    def handle(self, kind: str, call: Call) -> Call:
        self.left -= kind == "ask"
        return refusal("internal", "lost") if self.left < 0 else self.agent.handle(kind, call)


def run(ready: Prepared, seed: int | None, lost: str | None = None, after: int = 2) -> Run:
    """Run a study of one method with every role.

    Args:
        ready: What is run.
        seed: A simulation's, or None for real randomness.
        lost: A site that answers no more; None: all stay.
        after: The questions that it has answered before.
    """

    def wrap(agent: SiteAgent) -> SiteAgent:
        return cast(SiteAgent, _Lost(agent=agent, left=after)) if agent.name == lost else agent

    secure = ready.experiment.engine.secure == "on"
    with tempfile.TemporaryDirectory() as folder, federate.parties(seed, secure=secure) as parties:
        home = Path(folder)
        place = federate.Place(
            state=home / "state", ledgers=home / "sites", parties=home / "parties", run="synthesis", seed=seed
        )
        if parties is not None:
            parties.keep(place.parties)
            parties.ready()
        clock, cpu = time.perf_counter(), time.process_time()
        trained = federate.federate(ready, place, parties, lambda _, __: None, wrap)
        clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    (arrays,) = trained.arrays.values()
    queries = sum(trained.queries.values())
    return Run(arrays=arrays, seconds=clock, cpu_seconds=cpu, uploaded=trained.uploaded, queries=queries)
