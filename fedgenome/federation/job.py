"""The folder of a deployed run, through which the coordinator's command and its ServerApp talk.

``jobs/<run id>/`` holds

=========================== ============ =================================================================
file                        written by   what
=========================== ============ =================================================================
job.json                    command      what is to be done, and the token that a run must carry to do it
state/                      ServerApp    checkpoints: a new Flower run continues where the last one ended
progress.json               ServerApp    where it stands, replaced after every query
released/<label>.safetensors ServerApp   each method's released arrays
warnings.log                ServerApp    who was missing, refused or failed, and when: a line each
result.json                 ServerApp    written last: queries answered and bytes uploaded, or the error
=========================== ============ =================================================================

A Flower run cannot be resumed (it has failed once its SuperLink was away), so the
folder outlives it. Only one ServerApp works in a folder at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
import pydantic
import safetensors
import safetensors.numpy
from pydantic import Field

from fedgenome import files
from fedgenome.errors import BudgetRefused, FedgenomeError, RoleError, SpecError
from fedgenome.query import Array
from fedgenome.strict import Strict, finding
from fedgenome.study import Name, Plan, Study

FOLDER = "FEDGENOME_JOBS"  # environment variable: the folder of all jobs, at the SuperLink
_Model = TypeVar("_Model", bound=Strict)
RunId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class Signature(Strict):
    """Who signed the Study's digest, and how."""

    signer: str = Field(pattern=r"^[0-9a-f]{64}$", description="public key")
    signature: str = Field(pattern=r"^[0-9a-f]{128}$")


class JobSpec(Strict):
    """What a ServerApp is to do."""

    study: Study
    signatures: tuple[Signature, ...] = ()
    plan: Plan
    run: RunId = Field(description="our id, kept over resumes; not Flower's")
    noise: float | None = Field(default=None, description="the plan's noise, to which methods are set; None: none")
    queries: dict[Name, int] = Field(default_factory=dict, description="queries by method, where known")
    seed: int | None = Field(default=None, ge=0, description="a simulation's; sites refuse it unless public")
    timeout: float = Field(gt=0, description="seconds a role may take for one answer")
    token: str = Field(pattern=r"^[0-9a-f]{64}$", description="what a run must carry to work on this job")


class Progress(Strict):
    """Where a run stands."""

    method: str = Field(default="", description="whose queries are asked now; empty before the first was answered")
    answered: int = Field(default=0, ge=0, description="of this method")
    total: int | None = Field(default=None, description="of this method, where known")
    done: dict[str, int] = Field(default_factory=dict, description="queries answered, by method")
    present: tuple[str, ...] = Field(default=(), description="sites that answered the last call")
    absent: tuple[str, ...] = Field(default=(), description="sites that did not")
    parties: tuple[str, ...] = Field(default=(), description="parties, and the dealer, that answered the last call")
    since: datetime.datetime = Field(description="when this Flower run began")
    updated: datetime.datetime


class Failure(Strict):
    """Why a run ended without a result, in public words."""

    code: Literal["budget", "role", "spec", "internal"]
    text: str
    exit: int

    @classmethod
    def of(cls, fault: FedgenomeError) -> Self:
        """Return what is told of an error of ours."""
        code = next((word for word, kind in _FAULTS.items() if isinstance(fault, kind)), "role")
        return cls(code=code, text=str(fault), exit=fault.exit_code)

    def error(self) -> FedgenomeError:
        """Return it as an error again."""
        return _FAULTS.get(self.code, RoleError)(self.text)


_FAULTS: dict[str, type[FedgenomeError]] = {"budget": BudgetRefused, "spec": SpecError, "role": RoleError}


class Result(Strict):
    """How a ServerApp ended: what was answered, or an error."""

    answered: dict[str, int] = Field(default_factory=dict, description="queries, by method")
    uploaded: int = Field(default=0, ge=0, description="bytes that sites sent for the sums in this Flower run")
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class JobFolder:
    """One job's folder."""

    path: Path

    @property
    def state(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "state"

    @property
    def warnings(self) -> Path:
        """Where the ServerApp's warnings go: Flower shows its own output to nobody."""
        return self.path / "warnings.log"

    def warned(self, since: int = 0) -> tuple[list[str], int]:
        """Return the whole lines of warnings past byte ``since``, and where they end."""
        try:
            with self.warnings.open("rb") as file:
                file.seek(since)
                lines, end, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return [], since
        return lines.decode("utf-8", "replace").splitlines(), since + len(lines + end)

    @classmethod
    def create(cls, jobs: Path, spec: JobSpec) -> Self:
        """Write a job, or find it again with a token of this time. Why it failed last time is forgotten.

        Raises:
            SpecError: the folder holds another job, or cannot be written to.
        """
        folder = cls(jobs / spec.run)
        try:
            jobs.mkdir(parents=True, exist_ok=True)
            folder.path.mkdir(mode=0o700, exist_ok=True)  # the token and the sums are the coordinator's alone
            if (folder.path / "job.json").exists() and folder.spec().model_copy(update={"token": spec.token}) != spec:
                raise SpecError(f"{folder.path}: expected the job of this experiment and Study, found another's")
            if (result := folder.result()) is None or result.error is not None:
                (folder.path / "result.json").unlink(missing_ok=True)
                folder._write("job.json", spec)
        except OSError as fault:
            raise SpecError(f"jobs: expected a folder to write to, got {jobs} ({fault.strerror})") from None
        return folder

    def spec(self) -> JobSpec:
        """Return what is to be done.

        Raises:
            SpecError: no such file, or not one of :meth:`create`.
        """
        spec = self._read("job.json", JobSpec)
        if spec is None:
            raise SpecError(f"{self.path}: expected a job of `fedgenome run --on`, found none")
        return spec

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other ServerApp out.

        Raises:
            RoleError: one is at work here.
        """
        with (self.path / "lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RoleError(f"{self.path.name}: another ServerApp works on this job; wait until it ended") from None
            yield

    def progress(self) -> Progress | None:
        """Return where the run stands; None before it began."""
        return self._read("progress.json", Progress)

    def tell(self, progress: Progress) -> None:
        """Replace what :meth:`progress` returns."""
        self._write("progress.json", progress)

    def result(self) -> Result | None:
        """Return how the run ended; None before that."""
        return self._read("result.json", Result)

    def finish(self, result: Result) -> None:
        """Write the result: the last thing that a ServerApp does."""
        self._write("result.json", result)

    def release(self, label: str, arrays: Mapping[str, Array]) -> None:
        """Write what a method releases."""
        folder = self.path / "released"
        folder.mkdir(exist_ok=True)
        blob = safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})
        files.replace(folder / f"{label}.safetensors", blob)

    def released(self, label: str) -> dict[str, Array]:
        """Return what a method released.

        Raises:
            RoleError: there is no such file, or it is damaged.
        """
        path = self.path / "released" / f"{label}.safetensors"
        try:
            return safetensors.numpy.load(path.read_bytes())
        except (OSError, safetensors.SafetensorError) as fault:
            raise RoleError(f"{path}: expected the arrays of {label}, {type(fault).__name__}") from None

    def _read(self, name: str, model: type[_Model]) -> _Model | None:
        path = self.path / name
        try:
            return model.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except pydantic.ValidationError as fault:
            raise SpecError(f"{path}: {finding(fault, model)}") from None

    def _write(self, name: str, record: Strict) -> None:
        text = json.dumps(record.model_dump(mode="json", by_alias=True), indent=1) + "\n"
        files.replace(self.path / name, text.encode())


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_hex(32)


def now() -> datetime.datetime:
    """Return the time, to the second."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)
