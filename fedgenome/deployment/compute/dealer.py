"""The dealer on a machine of its own: its daemon starts the run's process and tells it whom to meet, and no more."""

from __future__ import annotations

from dataclasses import asdict
from typing import Self

from pydantic import model_validator
from structlog.typing import FilteringBoundLogger

from fedgenome.deployment.compute.config import ComputeConfig
from fedgenome.deployment.compute.daemon import Daemon, Joined
from fedgenome.query import PARTIES, Roster
from fedgenome.secure.driver import Driver
from fedgenome.secure.generators import DEALER, ROLES
from fedgenome.secure.group import meeting
from fedgenome.secure.handles import spawn, tell
from fedgenome.secure.party import IDENTITY


class DealerConfig(ComputeConfig):
    """One ``dealer.toml``."""

    @model_validator(mode="after")
    def _check_dealer(self) -> Self:
        if len(self.peers) != PARTIES:
            raise ValueError(f"peers: expected the addresses of the {PARTIES} parties")
        return self


class DealerDaemon(Daemon):
    """The dealer's daemon.

    Args:
        config: Its ``dealer.toml``.
        log: Told what was asked and what came of it.
    """

    def __init__(self, config: DealerConfig, log: FilteringBoundLogger) -> None:
        super().__init__(config, ROLES[DEALER], log)

    def _place(self, roster: Roster) -> str:
        return roster.dealer

    def _start(self, joined: Joined) -> Driver:
        config = self._config
        keys = (*joined.roster.parties, joined.roster.dealer)
        where = meeting(joined.study, joined.run, joined.terms, keys, config.peers)
        handle = spawn(DEALER, "fedgenome.secure.dealer")
        identity = str((config.state / IDENTITY).resolve())
        tell(handle, {"meeting": asdict(where), "identity": identity, "timeout_seconds": config.timeout_seconds})
        return Driver([handle], None, config.timeout_seconds)
