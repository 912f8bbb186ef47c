"""What every role behind a socket has: a state folder with its keys, the socket of its relay, and a clean end."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from fedgenome.closing import Closing
from fedgenome.deployment import disk
from fedgenome.errors import SpecError
from fedgenome.secure.identity import Identity
from fedgenome.secure.party import IDENTITY
from fedgenome.strict import Strict, from_toml

NODE_KEY, SOCKET_KEY = "node.key", "socket.key"  # in the state folder, beside IDENTITY
_LOCK = "daemon.lock"
_LONGEST_SOCKET = 107  # bytes of a Unix socket's path on Linux
_MAKE = "make the folder with: fedgenome keys request"


class RoleConfig(Strict):
    """What ``site.toml``, ``party.toml`` and ``dealer.toml`` have in common.

    Relative paths are read from the file's own folder.
    """

    state: Path = Field(description="folder of the role's keys and memory")
    socket: Path = Field(description="where the role listens for its relay")

    @model_validator(mode="after")
    def _check_socket(self) -> Self:
        if len(os.fsencode(self.socket)) > _LONGEST_SOCKET:
            raise ValueError(f"socket: expected a path of at most {_LONGEST_SOCKET} bytes, got {self.socket}")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a role's configuration.

        Raises:
            SpecError: one line naming file, field, what was found and what would be right.
        """
        home = path.resolve().parent
        config = from_toml(path, cls, "a role's configuration", lambda told: cls._rooted(told, home))
        for field, folder in (("state", config.state), ("socket", config.socket.parent)):
            if not folder.is_dir():
                raise SpecError(f"{path}: {field}: expected the folder {folder}; there is none")
        return config

    @classmethod
    def _rooted(cls, told: dict[str, Any], home: Path) -> dict[str, Any]:
        """Return ``told`` with its paths under ``home``; what is no path is left for the check to find."""
        paths = {field: told.get(field) for field in ("state", "socket")}
        return told | {field: str(home / path) for field, path in paths.items() if isinstance(path, str)}


def identity_of(config: RoleConfig) -> Identity:
    """Return the role's lasting key pair, from its state folder.

    Raises:
        SpecError: there is none, or others may read it.
    """
    return Identity.load(config.state / IDENTITY)


def socket_key(config: RoleConfig) -> bytes:
    """Return what a role and its relay prove to one another that they hold.

    Raises:
        SpecError: the state folder has none, or others may read it.
    """
    return disk.read_key(config.state / SOCKET_KEY, "the relay's key", _MAKE, 0o007)


class Sole(Closing):
    """Makes sure that one daemon at a time works on a state folder; its end, of whatever kind, lets the next one in.

    Args:
        state: The folder.

    Raises:
        SpecError: another daemon has it.
    """

    def __init__(self, state: Path) -> None:
        self._file = os.open(state / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise SpecError(f"{state}: expected to be its only daemon, but another works on it") from None

    def close(self) -> None:
        """Let the next one in. Repeating it does nothing."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def ended_by_signal() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set: the clean end of a process. Call it in the main thread."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
