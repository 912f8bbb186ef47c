"""A hospital's agent as a process: behind a socket, on a schedule, with a journal, until it is told to end.

Between the socket and the agent stands a *desk*. It lets in only what is approved now, writes down what came of
every call before the answer leaves, and lets answers leave on a schedule: a whole number of
``schedule_seconds`` after the question came, almost always one. How long the work took tells how many donors
were sampled; when an answer leaves does not, unless the work took longer than a tick. Ticks are counted from
each question, so that who asks cannot choose how close to one the work ends.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pydantic
from structlog.typing import FilteringBoundLogger

from fedgenome import files
from fedgenome.deployment import disk, logs
from fedgenome.deployment.hospital import approvals, journal, metrics
from fedgenome.deployment.hospital.journal import Journal
from fedgenome.deployment.hospital.metrics import Metrics
from fedgenome.deployment.hospital.site import Site, SiteConfig, opened
from fedgenome.deployment.roles import socket_key
from fedgenome.deployment.signed import SignedStudy
from fedgenome.errors import Refused, SpecError
from fedgenome.federation import agents
from fedgenome.federation.wire import Call, refusal
from fedgenome.study import Study

SERVING = "serving.json"  # in the state folder: since when; gone after a clean end
_LOOK_SECONDS = 1.0  # between looks at the approvals
_PATIENCE_SECONDS = 5.0  # that the end waits for an answer in the making


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When answers leave.

    Attributes:
        seconds: Between ticks.
        clock: Tells the time, seconds; never set back.
        sleep: Waits for so many seconds.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def hold(self, since: float) -> bool:
        """Wait for the first tick after now, of those counted from ``since``; tell whether one was missed."""
        ticks = max(1, math.ceil((self.clock() - since) / self.seconds))
        while (left := since + ticks * self.seconds - self.clock()) > 0:
            self.sleep(left)
        return ticks > 1


class Desk:
    """What stands between a site's socket and its agent.

    Args:
        config: The site's.
        site: Opened with :func:`approvals.admit` of the same configuration.
        journal: Where calls are written down.
        metrics: What is counted.
        schedule: When answers leave.
    """

    def __init__(
        self, config: SiteConfig, site: Site, journal: Journal, metrics: Metrics, schedule: Schedule | None = None
    ) -> None:
        self._config, self._site = config, site
        self._journal, self._metrics = journal, metrics
        self._schedule = schedule or Schedule(seconds=config.schedule_seconds)
        self._turn = threading.Lock()

    def handle(self, kind: str, call: Call) -> Call:
        """Answer one call of a relay, when it is time."""
        if kind not in ("join", "ask", "close"):
            return self._site.agent.handle(kind, call)
        since = self._schedule.clock()
        with self._turn:
            answer = self._noted(kind, call)
        if self._schedule.hold(since) and kind == "ask":
            self._metrics.late.inc()
        return answer

    def ready(self, studies: Sequence[Study]) -> None:
        """Take note of the Studies that may join now, and read the data for the last of them.

        Read at the join, how long that takes would tell how many they are.

        Raises:
            Refused: ``cohort``: the data do not fit.
        """
        with self._turn:
            self._metrics.approved.set(len(studies))
            self._count()
            for study in studies[-1:]:
                self._site.load(study)

    def check(self) -> None:
        """Tell whether what must be written can be.

        Raises:
            RoleError: ledger or memory were given up after a write that failed: opened anew they may work again.
        """
        if not self._site.intact:
            raise disk.no_room(self._config.state, "a write failed")

    def finish(self) -> None:
        """Wait for the answer in the making, a few seconds at most."""
        if self._turn.acquire(timeout=_PATIENCE_SECONDS):
            self._turn.release()

    def _count(self) -> None:
        self._metrics.write(self._site.ledger, self._config.budget)

    def _noted(self, kind: str, call: Call) -> Call:
        """Answer a call, and write down what came of it."""
        before, held = self._site.ledger.head, self._site.ledger.reserved()
        answer = self._answered(kind, call)
        code, rule = answer.refusal or ("answered", None)
        after = self._site.ledger.head
        facts = journal.named(call) | {"outcome": code, "rule": rule, "ledger": after}
        facts["charged"] = journal.charged(call) if kind == "ask" and after != before else None
        facts["reserved"] = _reserved(held, self._site.ledger.reserved())
        if kind == "join":
            facts["study"] = _digest(call)
        self._metrics.calls.labels(kind, code).inc()
        try:
            self._journal.note(kind, **facts)
            self._count()
        except OSError:
            return refusal("journal-closed", "the disk takes no line: nothing leaves that could not be written down")
        return answer

    def _answered(self, kind: str, call: Call) -> Call:
        query = call.header.get("query")
        study = query.get("study") if isinstance(query, dict) else None
        # The agent looks at the approval at `join`: one that was taken back since then ends the run here.
        if kind == "ask" and not approvals.is_approved(self._config.state, study):
            return refusal("not-approved", "the hospital has not approved this study, or no longer")
        return self._site.agent.handle(kind, call)


def _reserved(before: tuple[float, float], after: tuple[float, float]) -> list[float] | None:
    return [b - a for a, b in zip(before, after, strict=True)] if after > before else None


def _digest(call: Call) -> str | None:
    try:
        return Study.model_validate(call.header.get("study")).digest
    except pydantic.ValidationError:
        return None


def serve(config: SiteConfig, log: FilteringBoundLogger, stop: threading.Event) -> None:
    """Answer this site's relay until ``stop``.

    Raises:
        SpecError: something of the state folder is missing, damaged or in use.
        Refused: ``ledger-busy``: another agent runs on this folder.
        RoleError: the state folder cannot be written to. Whoever supervises tries again.
    """
    key, state = socket_key(config), config.state
    disk.check_room(state)
    log = log.bind(site=config.name)
    with opened(config, partial(approvals.admit, config)) as site, Journal(state / journal.FILE) as book:
        desk = Desk(config, site, book, Metrics(state / metrics.FILE))
        with agents.listening([desk.handle], config.socket, key):
            since = datetime.now(UTC).isoformat(timespec="seconds")
            files.replace(state / SERVING, json.dumps({"since": since}).encode())
            log.info("serving", socket=str(config.socket), public=config.public, seeded=config.seed is not None)
            _watch(config, desk, log, stop)
        desk.finish()
        (state / SERVING).unlink(missing_ok=True)
    log.info("ended")


def _watch(config: SiteConfig, desk: Desk, log: FilteringBoundLogger, stop: threading.Event) -> None:
    """Say which Studies are approved, at first and whenever that changes, until ``stop``.

    Raises:
        RoleError: what must be written cannot be.
    """
    known: list[str] | None = None
    while True:
        desk.check()
        if (found := approvals.digests(config.state)) != known:
            known = found
            _tell(config, desk, log)
        if stop.wait(_LOOK_SECONDS):
            return


def _tell(config: SiteConfig, desk: Desk, log: FilteringBoundLogger) -> None:
    """Say which approved Studies may join, and get ready for them."""
    willing = []
    try:
        for signed in approvals.listed(config.state):
            if rule := _rule(config, signed):
                log.warning("approved, and cannot join", study=signed.study.digest, rule=rule)
            else:
                log.info("approved", study=signed.study.digest)
                willing.append(signed.study)
        desk.ready(willing)
    except OSError as fault:
        raise disk.no_room(config.state, fault.strerror) from None
    except (SpecError, Refused) as fault:
        log.error("an approved study cannot join", **logs.of(fault))
    if not willing:
        log.info("waiting for an approval", say="fedgenome site approve SITE.toml STUDY.json")


def _rule(config: SiteConfig, signed: SignedStudy) -> str:
    try:
        approvals.admit(config, signed.study, None, signed.wire)
        approvals.check_key(config, signed.study)
    except Refused as fault:
        return fault.rule
    except SpecError as fault:  # of public keys alone
        return str(fault)
    return ""
