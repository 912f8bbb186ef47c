"""Train a prepared study: with every role simulated here, parties, site agents, coordinator, or by a deployment's."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import numpy as np

from fedgenome.closing import Closing
from fedgenome.experiment import Experiment
from fedgenome.federation import engines
from fedgenome.federation.checkpoint import Progress
from fedgenome.federation.coordinator import Coordinator, Job
from fedgenome.federation.site import SiteAgent, pinned
from fedgenome.prepare import Prepared, cohort_of, prepare
from fedgenome.privacy import accounts
from fedgenome.privacy.ledger import Budget, Ledger
from fedgenome.query import PARTIES, Array
from fedgenome.secure.identity import Identity
from fedgenome.secure.once import Once
from fedgenome.secure.parties import Parties
from fedgenome.secure.party import ANSWERS, IDENTITY
from fedgenome.streams import Root
from fedgenome.study import Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and as what one simulated run runs.

    Attributes:
        state: The coordinator's checkpoints.
        ledgers: Folder of the sites: their ledgers, identities and answers.
        parties: Folder of the parties: their identities and what they opened.
        run: The run's id, kept over resumes.
        seed: A simulation's seed, or None.
    """

    state: Path
    ledgers: Path
    parties: Path
    run: str
    seed: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What training gave.

    Attributes:
        study: The Study that was pinned: with the roles' keys, where there are parties.
        arrays: Each method's released arrays.
        queries: Queries answered, by method.
        uploaded: Bytes of sealed parts (or plain vectors) that all sites sent in this process.
        engine: What ran it.
    """

    study: Study
    arrays: Mapping[str, dict[str, Array]]
    queries: Mapping[str, int]
    uploaded: int
    engine: Literal["local", "ray", "deployment"]


class Roles(Protocol):
    """Who trains a study. A context manager: what it starts ends with it."""

    engine: Literal["local", "ray", "deployment"]

    @property
    def deal(self) -> str | None:
        """Hex key of the stream that dealt the cohort out to hospitals; None where this run deals it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *fault: object) -> None: ...

    def prepare(self, spec: Experiment, rng: np.random.Generator) -> Prepared:
        """Decide everything; see :func:`fedgenome.prepare.prepare`."""

    def federate(self, prepared: Prepared, place: Place, on_step: Callable[[str, Progress], None]) -> Trained:
        """Ask every query of the study, or the rest of them after an interruption; see :func:`federate`."""


class Simulated(Closing):
    """Every role on this machine. Parties start when it is made: their imports take seconds.

    Raises:
        SpecError: the experiment has no cohort to simulate with.
    """

    def __init__(self, spec: Experiment) -> None:
        cohort_of(spec)
        self.engine: Literal["local", "ray", "deployment"] = spec.engine.kind
        self._stack = contextlib.ExitStack()
        self._parties = self._stack.enter_context(parties(spec.seed, secure=spec.engine.secure == "on"))

    @property
    def deal(self) -> None:
        """This run deals its cohort out itself."""

    def prepare(self, spec: Experiment, rng: np.random.Generator) -> Prepared:
        """Read the cohort and deal it out."""
        return prepare(spec, rng)

    def federate(self, prepared: Prepared, place: Place, on_step: Callable[[str, Progress], None]) -> Trained:
        """Ask every query of the study; see :func:`federate`."""
        return federate(prepared, place, self._parties, on_step)

    def close(self) -> None:
        """End the parties."""
        self._stack.close()


@contextlib.contextmanager
def parties(seed: int | None, *, secure: bool = True) -> Iterator[Parties | None]:
    """Start three parties and yield at once; none is left afterwards. Without ``secure``: None."""
    if not secure:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="fedgenome-") as folder, Parties.start(Path(folder), seed) as started:
        yield started


def federate(
    prepared: Prepared,
    place: Place,
    running: Parties | None,
    on_step: Callable[[str, Progress], None],
    wrap: Callable[[SiteAgent], SiteAgent] = lambda agent: agent,
) -> Trained:
    """Ask every query of the study, or the rest of them after an interruption.

    Args:
        running: The parties; None where the study says secure = off.
        on_step: Told (method, where it stands) after every query.
        wrap: Takes every site agent; an experiment loses one on the way.

    Raises:
        RoleError: a party ended, or too few sites answered.
        BudgetRefused: a site's ledger, or the plan's reserve, has too little left.
    """
    study = _with_identities(prepared, place, running)
    job = Job(
        study=study,
        plan=prepared.plan,
        run=place.run,
        methods=prepared.methods,
        parties=running,
        folder=place.state,
        root=Root.of(place.seed, "coordinator"),
        on_step=on_step,
        timeout=prepared.experiment.engine.timeout_seconds,
    )
    coordinator = Coordinator(job)
    with contextlib.ExitStack() as stack:
        agents = [wrap(stack.enter_context(_agent(prepared, study, place, site))) for site in prepared.split.sites]
        engines.run(prepared.experiment.engine.kind, coordinator.conduct, agents)
    return Trained(
        study=study,
        arrays=coordinator.releases,
        queries=coordinator.answered,
        uploaded=coordinator.uploaded,
        engine=prepared.experiment.engine.kind,
    )


def _with_identities(prepared: Prepared, place: Place, running: Parties | None) -> Study:
    """Name the keys of the simulated roles in the Study; a resumed run finds them again."""
    study = prepared.study
    if running is None:
        return study
    sites = {site.name: Identity.kept(place.ledgers / site.name / IDENTITY).public for site in study.roster}
    parties = running.keep(place.parties, dealer=prepared.plan.selects)
    return study.with_keys(sites, parties[:PARTIES], *parties[PARTIES:])


@contextlib.contextmanager
def _agent(prepared: Prepared, study: Study, place: Place, site: str) -> Iterator[SiteAgent]:
    """Open a site's ledger and yield its agent."""
    folder = place.ledgers / site
    folder.mkdir(parents=True, exist_ok=True)
    spec = prepared.experiment.engine
    budget = Budget(epsilon=spec.budget_epsilon, delta=spec.budget_delta) if spec.budget_epsilon else None
    identity = Identity.kept(folder / IDENTITY)
    account = accounts.kept(folder)
    if spec.ledgers is not None:
        accounts.admit(folder, account, prepared.split.sites[site].donors, study.schema_.unit)
    with (
        Ledger(folder / "ledger.jsonl", account, budget, signer=identity) as ledger,
        Once(folder / ANSWERS) as once,
    ):
        yield SiteAgent(
            site,
            lambda _: prepared.split.sites[site],
            root=Root.of(place.seed, "site", site),
            ledger=ledger,
            identity=identity,
            once=once,
            admit=pinned(study.digest),
            public=prepared.cohort.public,
        )
