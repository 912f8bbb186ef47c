"""The coordinator's Flower ServerApp: in a simulation what the driver hands over, else one job of its folder.

Deployed, it runs at the SuperLink, away from whoever submitted it. It takes only jobs that lie in the folder
``FEDGENOME_JOBS``, and only from a run that carries the job's token, since whoever reaches the SuperLink can
start it. What it tells is in that folder; of an error it did not foresee, nothing but its kind and place.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedgenome import files, threads
from fedgenome.errors import FedgenomeError, RoleError, SpecError
from fedgenome.federation import checkpoint, job
from fedgenome.federation.coordinator import Coordinator, Job, Summing
from fedgenome.federation.job import Failure, JobFolder, JobSpec, Result
from fedgenome.federation.post import Post
from fedgenome.methods import registry
from fedgenome.methods.base import Method
from fedgenome.secure.generators import ROLES
from fedgenome.streams import Root

log = logging.getLogger(__name__)

# For roles that a supervisor starts again: a relay that was killed is turned away for a minute, and then is back soon.
_PATIENCE_SECONDS = 90.0


def make(conduct: Callable[[Grid], None]) -> ServerApp:
    """Return the ServerApp whose main is ``conduct``."""
    server = ServerApp()

    @server.main()
    def main(grid: Grid, _: Context) -> None:
        conduct(grid)

    return server


def deployed() -> ServerApp:
    """Return the ServerApp that works on the job its run names."""
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        threads.limit()
        serve(grid, context.run_config, os.environ.get(job.FOLDER, ""))

    return server


def serve(grid: Grid, config: Mapping[str, object], jobs: str) -> None:
    """Do the job that a run's ``config`` names, and write how it ended.

    Args:
        grid: The SuperLink's.
        config: ``job``, the name of its folder, and ``token``.
        jobs: Where jobs lie.

    Raises:
        SpecError: there is no such job, or the run does not carry its token; nothing is written then.
        FedgenomeError: why the job ended without a result.
    """
    folder = _found(config, jobs)
    with folder.held(), _warning(folder), _told(folder):
        folder.finish(_conduct(grid, folder))


def _found(config: Mapping[str, object], jobs: str) -> JobFolder:
    name, token = str(config.get("job", "")), str(config.get("token", ""))
    if not jobs:
        raise SpecError(f"{job.FOLDER}: expected the folder of jobs in the SuperLink's environment, got none")
    if not re.fullmatch("[0-9a-f]{32}", name):
        raise SpecError("job: expected the name of a job's folder; runs are started by `fedgenome run --on`")
    folder = JobFolder(Path(jobs) / name)
    if not hmac.compare_digest(folder.spec().token.encode(), token.encode()):
        raise SpecError(f"job {name}: expected the token of its last submission; another run has taken its place")
    return folder


@contextlib.contextmanager
def _warning(folder: JobFolder) -> Iterator[None]:
    """Keep what the library warns of beside the job."""
    keeper = logging.FileHandler(folder.warnings, encoding="utf-8")
    keeper.setLevel(logging.WARNING)
    keeper.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    library = logging.getLogger("fedgenome")
    library.addHandler(keeper)
    try:
        yield
    finally:
        library.removeHandler(keeper)
        keeper.close()


@contextlib.contextmanager
def _told(folder: JobFolder) -> Iterator[None]:
    """Write why a job ended without a result: Flower shows whoever asks the text of whatever leaves here."""
    try:
        yield
    except FedgenomeError as fault:
        _fail(folder, Failure.of(fault))
        raise
    except Exception as fault:  # noqa: BLE001 - whatever it is, its text stays here
        failure = Failure(code="internal", text=_said(fault), exit=RoleError.exit_code)
        _fail(folder, failure)
        raise RoleError(failure.text) from None


def _fail(folder: JobFolder, failure: Failure) -> None:
    with contextlib.suppress(OSError):  # a full disk: then Flower alone tells why
        folder.finish(Result(error=failure))


def _said(fault: Exception) -> str:
    if isinstance(fault, OSError) and fault.errno in files.NO_ROOM:
        return (
            f"the folder of jobs: expected room to write, {fault.strerror}; make room, then: fedgenome run … --resume"
        )
    where = traceback.extract_tb(fault.__traceback__)[-1]
    return f"the coordinator failed inside: {type(fault).__name__} at {Path(where.filename).name}:{where.lineno}"


def _conduct(grid: Grid, folder: JobFolder) -> Result:
    spec = folder.spec()
    post = Post(grid, spec.timeout, min(_PATIENCE_SECONDS, spec.timeout))
    teller = _Teller(folder, spec, post)
    signatures = [one.model_dump() for one in spec.signatures]
    with _parties(post, spec, signatures) as parties:
        coordinator = Coordinator(
            Job(
                study=spec.study,
                plan=spec.plan,
                run=spec.run,
                methods=_methods(spec),
                parties=parties,
                folder=folder.state,
                root=Root.of(spec.seed, "coordinator"),
                on_step=teller,
                timeout=spec.timeout,
                signatures=signatures,
            )
        )
        coordinator.converse(post)
    for label, arrays in coordinator.releases.items():
        folder.release(label, arrays)
    return Result(answered=coordinator.answered, uploaded=coordinator.uploaded)


@contextlib.contextmanager
def _parties(post: Post, spec: JobSpec, signatures: list[dict[str, str]]) -> Iterator[Summing | None]:
    """Yield the deployment's parties; None where the study does without."""
    if spec.study.secure == "off":
        yield None
        return
    from fedgenome.federation.remote import RemoteParties

    with RemoteParties(post, spec.study, spec.plan, spec.run, signatures) as parties:
        yield parties


def _methods(spec: JobSpec) -> dict[str, Method]:
    methods = registry.build_all(spec.study)
    return methods if spec.noise is None else {label: method.at(spec.noise) for label, method in methods.items()}


class _Teller:
    """Writes where the run stands: at its start, after every query, and when who is there changes meanwhile."""

    def __init__(self, folder: JobFolder, spec: JobSpec, post: Post) -> None:
        self._folder, self._spec, self._post = folder, spec, post
        earlier = folder.progress()
        self._done = dict(earlier.done) if earlier else {}
        self._since = job.now()
        self._label = ""
        post.on_change = self._tell
        self._tell()

    def __call__(self, label: str, progress: checkpoint.Progress) -> None:
        self._done[label] = progress.step
        self._label = label
        self._tell()

    def _tell(self) -> None:
        present, label = self._post.present, self._label
        sites = [site.name for site in self._spec.study.roster]
        self._folder.tell(
            job.Progress(
                method=label,
                answered=self._done.get(label, 0),
                total=self._spec.queries.get(label),
                done=self._done,
                present=tuple(site for site in sites if site in present),
                absent=tuple(site for site in sites if site not in present),
                parties=tuple(name for name in ROLES if name in present),
                since=self._since,
                updated=job.now(),
            )
        )


app = deployed()
