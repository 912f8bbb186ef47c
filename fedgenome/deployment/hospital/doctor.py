"""``fedgenome site doctor``: what a run will need, tried before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fedgenome.deployment.hospital import fitness, network
from fedgenome.deployment.hospital.findings import Finding, untested
from fedgenome.deployment.hospital.link import link
from fedgenome.deployment.hospital.site import SiteConfig
from fedgenome.deployment.signed import SignedStudy
from fedgenome.secure.roster import RosterFile

_NETWORK = ("authority", "port", "tls", "certificate", "http", "clock", "upload")
_STUDY = ("policy", "data", "donors", "memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the operator named.

    Attributes:
        superlink: host:port, or nothing.
        authority: ``ca.crt``.
        roster: A roster file.
        study: A signed Study.
    """

    superlink: str = ""
    authority: Path | None = None
    roster: Path | None = None
    study: Path | None = None


def examine(config: SiteConfig, given: Given) -> tuple[Finding, ...]:
    """Make every check for which ``given`` suffices; the others are not tested.

    Raises:
        SpecError: a file or address that was given is none.
    """
    roster = RosterFile.load(given.roster) if given.roster else None
    signed = SignedStudy.load(given.study) if given.study else None
    own = (*fitness.keys(config.state), fitness.identity(config, roster, signed.study if signed else None))
    return (*own, fitness.agent(config), *_network(given), *_study(config, signed))


def _network(given: Given) -> Iterator[Finding]:
    if given.superlink and given.authority:
        yield from network.findings(link(given.superlink, given.authority))
        return
    absent = [option for option, told in _options(given) if not told]
    yield from (untested(check, f"no {' and no '.join(absent)}") for check in _NETWORK)


def _options(given: Given) -> tuple[tuple[str, object], ...]:
    return ("--superlink", given.superlink), ("--certificates", given.authority)


def _study(config: SiteConfig, signed: SignedStudy | None) -> Iterator[Finding]:
    if signed is None:
        yield from (untested(check, "no --study") for check in _STUDY)
        yield fitness.disk(config.state, fitness.FILES)
        return
    yield fitness.allowed(config, signed)
    found, shard = fitness.data(config, signed.study)
    yield found
    if shard is None:
        yield from (untested(check, "the data could not be read") for check in _STUDY[2:])
        yield fitness.disk(config.state, fitness.FILES)
        return
    yield fitness.donors(config, signed.study, shard)
    need = fitness.need(signed.study, shard)
    yield fitness.memory(need.memory, fitness.available())
    yield fitness.disk(config.state, need.disk)
