"""The coordinator's side of a deployment: a study trained by hospitals and parties behind a SuperLink.

``fedgenome run --on deployment.toml`` does here what engine ``local`` does with roles of its own. The command
writes a job into a folder that it shares with the SuperLink, submits a Flower run that works on it, and watches
the folder. Whatever ends that run, the job stays, and ``--resume`` continues it: with the same Flower run while
it lives, else with a new one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np
from pydantic import Field, model_validator

from fedgenome import files
from fedgenome import prepare as preparing
from fedgenome.closing import Closing
from fedgenome.deployment import disk
from fedgenome.deployment.consortium import deal
from fedgenome.deployment.coordinator.flower import Away, Flower
from fedgenome.deployment.signed import SignedStudy
from fedgenome.errors import RoleError, SpecError
from fedgenome.experiment import Experiment
from fedgenome.federate import Place, Trained
from fedgenome.federation import checkpoint, job
from fedgenome.federation.job import JobFolder, JobSpec, Result, Signature
from fedgenome.prepare import Prepared
from fedgenome.strict import Strict, from_toml
from fedgenome.study import Study

log = logging.getLogger(__name__)

JOB = "job"  # beside a run's checkpoints, were there any: the path of its job's folder
_FLOWER_RUN = "flower-run"  # in the job's folder: Flower's id of the run that works on it
_GLANCE_SECONDS = 0.5  # between looks at the folder
_LOOK_SECONDS = 10.0  # without a step, before the SuperLink is asked: a question costs a second of a core
_PATIENCE_SECONDS = 60.0  # for a SuperLink that is away
_T = TypeVar("_T")


class DeploymentConfig(Strict):
    """``deployment.toml``: where the SuperLink is, and what was agreed. Paths are relative to the file."""

    superlink: str = Field(pattern=r"^[^\s:/]+:\d{1,5}$", description="the SuperLink's host:port")
    certificates: Path | None = Field(default=None, description="ca.crt of its certificate; absent: loopback only")
    jobs: Path = Field(description="folder shared with the SuperLink, which knows it as FEDGENOME_JOBS")
    study: Path = Field(description="the signed Study")
    deal: Path | None = Field(default=None, description="key by which `fedgenome deal` dealt a public cohort out")
    app: str = Field(default="@fedgenome/fedgenome==0.1.0", description="the app's bundle at the hub, or a folder")
    parties: Literal["grid"] = Field(default="grid", description="parties are nodes of the SuperLink")
    timeout_seconds: float = Field(default=600.0, gt=0, description="what a role may take for one answer")

    @model_validator(mode="after")
    def _check(self) -> Self:
        host = self.superlink.rpartition(":")[0]
        if self.certificates is None and not _is_loopback(host):
            raise ValueError(f"certificates: expected ca.crt for a SuperLink that is not on loopback, {host}")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a deployment's file.

        Raises:
            SpecError: one line naming file, field, what was found and what would be right.
        """
        return from_toml(path, cls, "a deployment file")._beside(path.resolve().parent)

    def _beside(self, home: Path) -> Self:
        paths = {name: getattr(self, name) for name in ("certificates", "jobs", "study", "deal")}
        found: dict[str, object] = {name: home / path for name, path in paths.items() if path is not None}
        if not self.app.startswith("@"):
            found["app"] = str(home / self.app)
        return self.model_copy(update=found)


class Deployment(Closing):
    """Trains studies on a deployment: see :class:`fedgenome.federate.Roles`.

    Raises:
        SpecError: the Study's file or the deal's is none.
    """

    def __init__(self, config: DeploymentConfig) -> None:
        self.engine: Literal["local", "ray", "deployment"] = "deployment"
        self._config = config
        self._signed = SignedStudy.load(config.study)
        self._deal = None if config.deal is None else deal.load(config.deal)

    @property
    def deal(self) -> str | None:
        """Hex key of the stream that dealt the cohort out to hospitals, where it was dealt."""
        return self._deal

    def prepare(self, spec: Experiment, rng: np.random.Generator) -> Prepared:
        """Decide everything, and check that it is what was signed.

        Raises:
            SpecError: the experiment's Study is not the signed one; names what differs.
        """
        signed = self._signed.study
        if spec.schema_ is not None:  # nobody's data are here, so nothing will be audited on real rows
            prepared = preparing.without_cohort(spec, {site.name: site.cap for site in signed.roster})
        else:
            prepared = preparing.prepare(spec, rng)
        _check_same(prepared, signed, self._config.study)
        return replace(prepared, study=signed)

    def federate(
        self, prepared: Prepared, place: Place, on_step: Callable[[str, checkpoint.Progress], None]
    ) -> Trained:
        """Have the deployment ask every query of the study, or the rest of them after an interruption.

        Raises:
            RoleError: a role failed, or the SuperLink is away.
            BudgetRefused: a site's ledger, or the plan's reserve, has too little left.
        """
        spec = self._spec(prepared, place)
        folder = JobFolder(self._config.jobs / place.run)
        place.state.mkdir(parents=True, exist_ok=True)
        files.replace(place.state / JOB, str(folder.path).encode())
        with _telling_how_to_go_on(), Flower(self._config.superlink, self._config.certificates) as flower:
            run = None if _finished(folder) else _alive(flower, folder)
            if run is None:
                JobFolder.create(self._config.jobs, spec)
                disk.check_room(folder.path)
            if (result := folder.result()) is None:
                result = _conducted(flower, folder, run or self._submit(flower, folder, spec), on_step)
            if result.error is not None:
                raise result.error.error()
        return Trained(
            study=prepared.study,
            arrays={label: folder.released(label) for label in prepared.methods},
            queries=result.answered,
            uploaded=result.uploaded,
            engine="deployment",
        )

    def close(self) -> None:
        """Nothing of this machine's: a run that is watched ends with the watching."""

    def _spec(self, prepared: Prepared, place: Place) -> JobSpec:
        return JobSpec(
            study=prepared.study,
            signatures=tuple(Signature.model_validate(one) for one in self._signed.wire),
            plan=prepared.plan,
            run=place.run,
            noise=prepared.noise,
            queries=dict(prepared.queries),
            seed=place.seed,
            timeout=self._config.timeout_seconds,
            token=job.new_token(),
        )

    def _submit(self, flower: Flower, folder: JobFolder, spec: JobSpec) -> str:
        config = {"job": spec.run, "token": spec.token}
        run = _patiently(lambda: flower.submit(self._config.app, config))
        files.replace(folder.path / _FLOWER_RUN, run.encode())
        return run


@contextlib.contextmanager
def _telling_how_to_go_on() -> Iterator[None]:
    """Add to a role's failure what to do once the role is there again."""
    try:
        yield
    except RoleError as fault:
        raise RoleError(f"{fault}; when it works again: fedgenome run … --on … --resume") from None


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _check_same(prepared: Prepared, signed: Study, source: Path) -> None:
    """Refuse an experiment whose Study, keys aside, is not the signed one."""
    own, agreed = (study.model_dump(mode="json", by_alias=True) for study in (prepared.study, signed.without_keys()))
    if other := [name for name in agreed if own[name] != agreed[name]]:
        raise SpecError(
            f"{source}: expected the Study of this experiment, signed; it differs in {', '.join(map(_named, other))}"
        )
    if signed.secure == "on" and not signed.keyed:
        raise SpecError(f"{source}: expected the roster's keys in the Study; make it with: fedgenome study make")
    if prepared.plan.selects and not signed.dealer:
        raise SpecError(f"{source}: expected a dealer's key, as a method of the experiment selects")


def _named(field: str) -> str:
    where = {
        "schema": "cohort or schema",
        "donors_bound": "caps.donors_bound",
        "quorum": "caps.quorum",
        "secure": "engine.secure",
    }
    where |= {"roster": "caps.site_cap or the sites' names"}
    return f"{field} ({where[field]})" if field in where else field


def _finished(folder: JobFolder) -> bool:
    """Return whether every sum was opened: then nobody is needed any more, the SuperLink neither."""
    result = folder.result()
    return result is not None and result.error is None


def _alive(flower: Flower, folder: JobFolder) -> str | None:
    """Return Flower's id of the run that still works on a job; None if none does."""
    try:
        run = (folder.path / _FLOWER_RUN).read_text()
    except FileNotFoundError:
        return None
    standing = _patiently(lambda: flower.standing(run))
    return None if standing is None or standing.over else run


def _conducted(
    flower: Flower, folder: JobFolder, run: str, on_step: Callable[[str, checkpoint.Progress], None]
) -> Result:
    """Watch a run to its end; stop it if the watching is interrupted."""
    try:
        return _watched(flower, folder, run, on_step)
    except BaseException:
        with contextlib.suppress(RoleError):  # it has ended, or its SuperLink has
            flower.stop(run)
        raise


def _watched(
    flower: Flower, folder: JobFolder, run: str, on_step: Callable[[str, checkpoint.Progress], None]
) -> Result:
    told: dict[str, int] = {}
    looked, warned = time.monotonic(), folder.warned()[1]
    while (result := folder.result()) is None:
        if _tell(folder, told, on_step):
            looked = time.monotonic()
        warned = _warn(folder, warned)
        if time.monotonic() - looked > _LOOK_SECONDS:
            standing = _patiently(lambda: flower.standing(run))
            looked = time.monotonic()
            if (standing is None or standing.over) and folder.result() is None:
                how = "is not known any more" if standing is None else f"is {standing.word}: {standing.details}"
                raise RoleError(f"the SuperLink broke the run off: Flower's run {run} {how}")
        time.sleep(_GLANCE_SECONDS)
    _tell(folder, told, on_step)
    _warn(folder, warned)
    return result


def _warn(folder: JobFolder, since: int) -> int:
    """Pass on what the ServerApp warned of past byte ``since``; return where that ends."""
    lines, end = folder.warned(since)
    for line in lines:
        log.warning("%s", line)
    return end


def _tell(folder: JobFolder, told: dict[str, int], on_step: Callable[[str, checkpoint.Progress], None]) -> bool:
    """Tell of every method that went on since it was last told of; return whether any did."""
    progress, before = folder.progress(), dict(told)
    for label, done in (progress.done if progress else {}).items():
        if told.get(label) != done and (stand := checkpoint.stand(folder.state, label)) is not None:
            told[label] = done
            on_step(label, stand)
    return told != before


def _patiently(ask: Callable[[], _T]) -> _T:
    """Ask the SuperLink, again and again for a while if it is away."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except Away:
            if time.monotonic() > deadline:
                raise
            time.sleep(_GLANCE_SECONDS)
