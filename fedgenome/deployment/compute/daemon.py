"""What the daemons of parties and dealer share: who may join them, one run at a time, one fresh process for each.

    closed ──join──▶ open, its process runs ──close, or a join of another run after idle_seconds──▶ closed
                      │        └──join of the same run: the process is kept while it is healthy
                      └──the process failed──▶ open without a process ──join of the same run──▶ a fresh one

A run is a Study, its plan and a name. The Study counts if it is signed by someone whom the operator named, and names
this role's identity in this role's place. While a run is open a join of another is refused as ``busy``, unless nothing
was said about the open one for ``idle_seconds``: a coordinator that died without a close blocks nobody for ever.
Answers are codes and rules in public terms, never data.
"""

from __future__ import annotations

import contextlib
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic
from structlog.typing import FilteringBoundLogger

from fedgenome.closing import Closing
from fedgenome.deployment import logs
from fedgenome.deployment.compute.config import ComputeConfig
from fedgenome.deployment.roles import Sole, ended_by_signal, identity_of, socket_key
from fedgenome.deployment.signed import verify_signatures
from fedgenome.errors import FedgenomeError, Refused, RoleError, SpecError
from fedgenome.federation import agents
from fedgenome.federation.wire import Call, refusal
from fedgenome.query import Array, Roster, Terms
from fedgenome.secure.driver import Driver
from fedgenome.study import Plan, Study

_LONGEST_RUN = 200  # characters of a run's name
_HEALTH_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The run that a role joined.

    Attributes:
        study: Hex digest of the Study.
        run: The run's name.
        terms: What every query carries.
        roster: Who takes part.
    """

    study: str
    run: str
    terms: Terms
    roster: Roster


class Daemon(Closing):
    """Answers a role's relay; a context manager that leaves no process behind. Its calls may come from many threads.

    Args:
        config: The role's.
        role: Its name, as rosters and the coordinator know it.
        log: Told what was asked and what came of it.

    Raises:
        SpecError: the state folder lacks a key, or another daemon works on it.
    """

    def __init__(self, config: ComputeConfig, role: str, log: FilteringBoundLogger) -> None:
        self._config, self._role, self._log = config, role, log
        self._identity = identity_of(config)
        self._sole = Sole(config.state)
        self._turn = threading.Lock()
        self._joined: Joined | None = None
        self._child: Driver | None = None
        self._asked = 0.0  # when something was last said about the run, by the monotonic clock

    @abstractmethod
    def _place(self, roster: Roster) -> str:
        """Return the key that a roster has in this role's place."""

    @abstractmethod
    def _start(self, joined: Joined) -> Driver:
        """Start a fresh process for a run."""

    def _frames(self, call: Call, joined: Joined, child: Driver) -> Call:
        """Answer the frames of a call."""
        raise Refused("unknown-kind", f"{self._role} takes no frames")

    def handle(self, kind: str, call: Call) -> Call:
        """Answer one call; every fault becomes a refusal that carries no data.

        Codes: unknown-kind, malformed, not-signed, other-roster, busy, not-joined, other-run, role-failed, internal.
        """
        begun = time.monotonic()
        try:
            answer = self._answer(kind, call)
        except Refused as fault:
            answer = refusal(fault.code, fault.rule)
        except RoleError as fault:  # its process: the next join starts another
            answer = refusal("role-failed", str(fault))
        except Exception as fault:
            log = self._log
            log.exception("unforeseen error", **logs.of(fault))
            answer = refusal("internal", f"{self._role} failed; its log says where")
        code, rule = answer.refusal or ("answered", None)
        self._log.info(kind[:16], outcome=code, rule=rule, run=self._run, seconds=round(time.monotonic() - begun, 3))
        return answer

    def close(self) -> None:
        """End the run's process and let the next daemon in. Repeating it does nothing."""
        self._end()
        self._sole.close()

    def _answer(self, kind: str, call: Call) -> Call:
        if kind == "hello":
            return self._reply(identity=self._identity.public)
        handlers = {"join": self._join, "frames": self._framed, "close": self._closed}
        if kind not in handlers:
            raise Refused("unknown-kind", "hello, join, frames or close")
        if not self._turn.acquire(timeout=self._config.timeout_seconds):
            raise Refused("busy", "an earlier message is still being answered")
        try:
            return handlers[kind](call)
        except RoleError:
            self._end()
            raise
        finally:
            self._turn.release()

    def _join(self, call: Call) -> Call:
        joined = admitted(call.header, self._config.signers)
        if self._place(joined.roster) != self._identity.public:
            raise Refused("other-roster", f"the Study names another identity for {self._role}")
        if self._joined not in (None, joined) and time.monotonic() - self._asked < self._config.idle_seconds:
            raise Refused(
                "busy", f"another run is open, and was spoken of less than {self._config.idle_seconds:g} s ago"
            )
        fresh = self._joined != joined or not self._healthy
        if fresh:
            self._end()
            self._child = self._start(joined)
        self._joined, self._asked = joined, time.monotonic()
        return self._reply(fresh=fresh)

    def _framed(self, call: Call) -> Call:
        if self._joined is None or self._child is None:
            raise Refused("not-joined", "join comes before frames")
        self._asked = time.monotonic()
        try:
            return self._frames(call, self._joined, self._child)
        finally:
            self._asked = time.monotonic()

    def _closed(self, call: Call) -> Call:
        if self._joined is None or call.header.get("run") != self._joined.run:
            raise Refused("other-run", "this run is not open here")
        self._end()
        self._joined = None
        return self._reply()

    def _reply(self, arrays: Mapping[str, Array] | None = None, **header: object) -> Call:
        return Call(header={"site": self._role, **header}, arrays=arrays or {})

    @property
    def _run(self) -> str | None:
        joined = self._joined
        return None if joined is None else joined.run

    @property
    def _healthy(self) -> bool:
        if self._child is None:
            return False
        try:
            self._child.check()
        except RoleError:
            return False
        return True

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close()


def admitted(header: Mapping[str, Any], signers: tuple[str, ...]) -> Joined:
    """Return the run that the header of a join describes.

    Args:
        header: study, plan, run and signatures.
        signers: Public keys whose signature counts.

    Raises:
        Refused: it is malformed, or nobody of ``signers`` signed the Study.
    """
    if sorted(header) != ["plan", "run", "signatures", "study"]:
        raise Refused("malformed", "join: study, plan, run, signatures")
    run = header["run"]
    if type(run) is not str or not 0 < len(run) <= _LONGEST_RUN or not isinstance(header["signatures"], list):
        raise Refused("malformed", f"join: a run's name of 1 to {_LONGEST_RUN} characters, and a list of signatures")
    try:
        study, plan = Study.model_validate(header["study"]), Plan.model_validate(header["plan"])
    except (pydantic.ValidationError, RecursionError):
        raise Refused("malformed", "join: a Study and its plan") from None
    try:
        verify_signatures(study.digest, header["signatures"], signers)
    except SpecError as fault:
        raise Refused("not-signed", str(fault)) from None
    if not study.keyed or study.secure != "on":
        raise Refused("other-roster", "the Study names no parties")
    try:
        return Joined(study=study.digest, run=run, terms=study.terms(plan), roster=study.keys)
    except FedgenomeError:
        raise Refused("malformed", "join: terms that can be kept") from None


def serve(daemon: Daemon, config: ComputeConfig, log: FilteringBoundLogger) -> None:
    """Answer the role's relay until SIGTERM or SIGINT. Call it in the main thread.

    Raises:
        SpecError: the state folder has no key for the relay.
    """
    stop = ended_by_signal()
    with agents.listening([daemon.handle], config.socket, socket_key(config)):
        log.info("serving", socket=str(config.socket))
        stop.wait()
    log.info("ended")


def health(config: ComputeConfig) -> str:
    """Return the name of the role that serves ``config``'s socket.

    Raises:
        RoleError: none answers, or another.
    """
    answer = agents.reach(str(config.socket), socket_key(config), 0, _HEALTH_SECONDS)("hello", Call(header={}))
    if answer.refusal:
        raise RoleError(f"{config.socket}: {answer.refusal[1]}")
    with contextlib.suppress(KeyError):
        if answer.header["identity"] == identity_of(config).public:
            return str(answer.header["site"])
    raise RoleError(f"{config.socket}: another role answers there")
