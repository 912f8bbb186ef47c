"""Whether a hospital's own side fits: its keys and their files, its data, its disk and memory, its agent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.deployment.hospital import approvals, policy, status
from fedgenome.deployment.hospital.findings import Finding, failed, ok, untested
from fedgenome.deployment.hospital.site import SiteConfig, shard_of
from fedgenome.deployment.roles import NODE_KEY, SOCKET_KEY, socket_key
from fedgenome.deployment.signed import SignedStudy
from fedgenome.errors import Refused, SpecError
from fedgenome.methods import registry
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from fedgenome.secure.roster import RosterFile
from fedgenome.study import Study

_MAKE = "make the folder anew with: fedgenome keys request"
_SEEN = 8  # questions that are looked at for the longest
_LIBRARIES = 1 << 29  # bytes: Python, torch and what else an agent has loaded
_COPIES = 8  # of an answer that are held at once: float64, words, masks, sealed, stored, sent
FILES = 1 << 28  # bytes of the state folder that any study may take: ledger, journal, memory of what was answered
_ANSWER_FILES = 2  # bodies that the file of answers may hold while one is written over the other
_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """About what one question of a study takes at a site, bytes.

    Attributes:
        memory: Of the agent, its data included.
        disk: Of the state folder.
    """

    memory: int
    disk: int


def keys(state: Path) -> Iterator[Finding]:
    """Look at the files of the state folder that nobody else may read."""
    yield _private("state folder", state, 0o700, f"chmod 700 {state}")
    for name in (IDENTITY, NODE_KEY, SOCKET_KEY):
        path = state / name
        yield _private(name, path, 0o600, f"chmod 600 {path}") if path.exists() else failed(name, "no such file", _MAKE)


def _private(check: str, path: Path, mode: int, remedy: str) -> Finding:
    found = path.stat().st_mode & 0o777
    if found & 0o077:
        return failed(check, f"mode {found:o}: others may use it", remedy)
    return ok(check, f"mode {found:o}, at least as strict as {mode:o}")


def identity(config: SiteConfig, roster: RosterFile | None, study: Study | None) -> Finding:
    """Look for this site's own public key under its name."""
    try:
        public = Identity.load(config.state / IDENTITY).public
    except SpecError as fault:
        return failed("roster", str(fault), _MAKE)
    told = {"roster": dict(roster.sites) if roster else None, "study": study.keys.keys if study else None}
    for what, named in told.items():
        if named is not None and (key := named.get(config.name)) != public:
            other = f"another key, {key[:16]}…" if key else "no key"
            found = f"the {what} has {other} for {config.name}"
            remedy = f"send request.json of this folder, whose key is {public[:16]}…, to the consortium"
            return failed("roster", found, remedy)
    looked = [what for what, named in told.items() if named is not None]
    if not looked:
        return untested("roster", "no --roster and no --study")
    return ok("roster", f"{config.name} has this site's key in the {' and the '.join(looked)}")


def allowed(config: SiteConfig, signed: SignedStudy) -> Finding:
    """Put the study before the site's policy, and look for its approval."""
    try:
        seeded = config.seed is not None
        policy.check(config.policy, signed.study, None, signed.wire, config.public, seeded, site=config.name)
    except Refused as fault:
        return failed(
            "policy", fault.rule, "change site.toml only if the hospital means to; else ask for another study"
        )
    known = "approved" if approvals.is_approved(config.state, signed.study.digest) else "not approved yet"
    return ok("policy", f"study {signed.study.digest[:12]}… is allowed, and {known}")


def data(config: SiteConfig, study: Study) -> tuple[Finding, Shard | None]:
    """Read the site's data as the study names and orders them."""
    try:
        shard = shard_of(config, study.schema_)
    except SpecError as fault:
        return failed("data", str(fault), "mend the file, or [cohort] of site.toml"), None
    genes = len(study.schema_.genes)
    return ok("data", f"{len(shard.mask)} rows with all {genes} genes and known classes"), shard


def donors(config: SiteConfig, study: Study, shard: Shard) -> Finding:
    """Compare the number of donors with the public cap. For the site's own operator only."""
    caps = [one.cap for one in study.roster if one.name == config.name]
    if not caps:
        return failed("donors", f"the roster has no {config.name}", "ask the consortium for a study with this site")
    remedy = "hold back donors by a rule that looks at no data, or request a greater cap for another study"
    if shard.n_donors > caps[0]:
        return failed("donors", f"{shard.n_donors}, over the cap of {caps[0]}", remedy)
    return ok("donors", f"{shard.n_donors}, within the cap of {caps[0]}")


def need(study: Study, shard: Shard) -> Need:
    """Estimate what the longest of a study's first questions takes."""
    longest = payload = 0
    for method in registry.build_all(study).values():
        asks = method.at(1.0)
        state = asks.start(np.random.default_rng(0))
        for _ in range(_SEEN):
            if (question := asks.ask(state)) is None:
                break
            longest = max(longest, question.length)
            payload = max(payload, sum(array.nbytes for array in question.payload.values()))
            sums = question.reduce == "sum"
            reply = np.zeros(question.reply_length) if sums else np.arange(question.reply_length)
            state = asks.learn(state, question, reply)
    answer = longest * 8
    memory = _LIBRARIES + 3 * shard.x.nbytes + 2 * payload + _COPIES * answer
    return Need(memory=memory, disk=FILES + _ANSWER_FILES * answer)


def disk(state: Path, needed: int, free: int | None = None) -> Finding:
    """Compare what is free where the state folder lies with what is needed.

    Args:
        free: Bytes; by default as the system says.
    """
    free = shutil.disk_usage(state).free if free is None else free
    told = f"{free / _GIB:.1f} GiB free for the state folder, about {needed / _GIB:.1f} needed"
    remedy = "free some: a full disk ends a run, as nothing leaves that could not be written down"
    return ok("disk", told) if free >= needed else failed("disk", told, remedy)


def memory(needed: int, free: int | None) -> Finding:
    """Compare available memory with what is needed.

    Args:
        free: Bytes (:func:`available`); None: not known.
    """
    if free is None:
        return untested("memory", "the system does not say how much is available")
    told = f"{free / _GIB:.1f} GiB available, about {needed / _GIB:.1f} needed by the agent"
    return ok("memory", told) if free >= needed else failed("memory", told, "give the agent's machine more memory")


def available(
    system: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup"), name: str = "MemAvailable:"
) -> int | None:
    """Return the bytes that a process here may still take: the system's, or its container's if that is less."""
    try:
        lines = [line.split() for line in system.read_text().splitlines()]
        free = next(int(line[1]) << 10 for line in lines if line[0] == name)
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    try:
        held = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # "max": the container has no limit of its own
        return free
    return min(free, max(held, 0))


def agent(config: SiteConfig) -> Finding:
    """Ask the agent its name on the socket, with the key that a relay has."""
    try:
        socket_key(config)
    except SpecError as fault:
        return failed("agent", str(fault), _MAKE)
    if why := status.healthy(config):
        return failed("agent", f"{config.socket}: {why}", "start it: fedgenome site serve SITE.toml")
    return ok("agent", f"{config.name} answers on {config.socket}, to whoever holds {SOCKET_KEY}")
