"""A compute party on a machine of its own: its daemon passes frames on to the run's process, and little else.

The process (:mod:`fedgenome.secure.party_process`) decides what is opened, and its memory in the state folder outlives
it and the daemon. The daemon decides which Study it works for: a PIN says what was joined, or is refused here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator
from structlog.typing import FilteringBoundLogger

from fedgenome.deployment.compute.config import Address, ComputeConfig
from fedgenome.deployment.compute.daemon import Daemon, Joined
from fedgenome.errors import Refused, WireError
from fedgenome.federation.wire import Call
from fedgenome.query import PARTIES, Array, Roster
from fedgenome.secure import frames, replies
from fedgenome.secure.driver import Driver
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.generators import ROLES
from fedgenome.secure.handles import spawn_party, tell
from fedgenome.secure.party_process import START_SECONDS


class PartyConfig(ComputeConfig):
    """One ``party.toml``."""

    index: int = Field(ge=0, lt=PARTIES, description="which of the three, from 0")
    listen: Address | None = Field(default=None, description="host:port for the other parties and the dealer")
    public: bool = Field(default=False, description="all cohorts are declared public: simulations may use this party")
    seed: int | None = Field(default=None, ge=0, description="a simulation's seed; only with public = true")

    @model_validator(mode="after")
    def _check_party(self) -> Self:
        if self.seed is not None and not self.public:
            raise ValueError("seed: expected none, or public = true")
        if (self.listen is None) != (not self.peers):
            raise ValueError("listen: expected an address with peers, and none without")
        return self

    @property
    def meeting_places(self) -> tuple[str, ...]:
        """Where the parties listen, as this one sees it: its own address is the one it binds."""
        return tuple(self.listen if i == self.index and self.listen else peer for i, peer in enumerate(self.peers))


class PartyDaemon(Daemon):
    """The daemon of one party.

    Args:
        config: Its ``party.toml``.
        log: Told what was asked and what came of it.
    """

    def __init__(self, config: PartyConfig, log: FilteringBoundLogger) -> None:
        super().__init__(config, ROLES[config.index], log)
        self._party = config

    def _place(self, roster: Roster) -> str:
        return roster.parties[self._party.index]

    def _start(self, joined: Joined) -> Driver:
        config = self._party
        folder = Path(tempfile.mkdtemp(prefix="fedgenome-"))
        handle = spawn_party(config.index, folder, config.seed, config.timeout_seconds, config.meeting_places)
        tell(handle, str(config.state))
        return Driver([handle], folder, config.timeout_seconds)

    def _frames(self, call: Call, joined: Joined, child: Driver) -> Call:
        names = [str(number) for number in range(len(call.arrays))]
        if not names or set(names) != set(call.arrays):
            raise Refused("malformed", "frames: numbered from 0, at least one")
        if any(blob.dtype != np.uint8 or blob.ndim != 1 for blob in call.arrays.values()):
            raise Refused("malformed", "frames: bytes")
        return self._reply({name: self._passed_on(call.arrays[name], joined, child) for name in names})

    def _passed_on(self, blob: Array, joined: Joined, child: Driver) -> Array:
        """Return the reply to one frame: the process's, or a refusal from here."""
        try:
            frame = frames.decode(blob.data)
            _check_pin(frame, joined)
            # In a selection the parties wait for each other, first of all to come.
            seconds = START_SECONDS + self._party.timeout_seconds if frame.kind is Kind.REVEAL else None
            reply = child.ask(frame, seconds)
        except WireError as fault:
            reply = _refused("malformed", str(fault))
        except Refused as fault:
            reply = _refused(fault.code, fault.rule)
        return np.frombuffer(frames.encode(reply), np.uint8)


def _check_pin(frame: Frame, joined: Joined) -> None:
    """Refuse a PIN that names anything but what was joined.

    Raises:
        Refused: it does.
    """
    if frame.kind is Kind.PIN:
        due = replies.pinning(joined.study, joined.run, joined.terms, joined.roster)
        if frame.header != _as_heard(due):
            raise Refused("other-study", "PIN names the Study, run, terms and roster that were joined")


def _as_heard(header: Mapping[str, Any]) -> Any:
    """Return a header as it comes out of JSON: lists for tuples."""
    return json.loads(json.dumps(header))


def _refused(code: str, rule: str) -> Frame:
    return Frame(kind=Kind.REFUSED, header={"code": code, "rule": rule})
