"""``party.toml`` and ``dealer.toml``: what the operator of such a role writes down, and the folder it names."""

from __future__ import annotations

import fcntl
import os
import tomllib
from pathlib import Path
from typing import Annotated, Self, TypeVar

import pydantic
from pydantic import Field, model_validator

from fedgenome.closing import Closing
from fedgenome.errors import SpecError, WireError
from fedgenome.query import PARTIES
from fedgenome.secure.identity import Identity, unhex
from fedgenome.secure.party import IDENTITY
from fedgenome.study import Strict, finding

SOCKET_KEY, _LOCK = "socket.key", "daemon.lock"  # in the state folder
_KEY_BYTES = 32
_LONGEST_SOCKET = 107  # bytes of a Unix socket's path on Linux

PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Address = Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):[1-9][0-9]{0,4}$")]


class RoleConfig(Strict):
    """What ``party.toml`` and ``dealer.toml`` have in common. Relative paths are read from the file's own folder."""

    state: Path = Field(description="folder of identity, socket key and memory")
    socket: Path = Field(description="where the role listens for its relay")
    peers: tuple[Address, ...] = Field(default=(), description="host:port of the three parties, in order")
    signers: tuple[PublicKey, ...] = Field(min_length=1, description="public keys whose signature on a Study counts")
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600, description="silence that counts as a failure")
    idle_seconds: float = Field(default=3600.0, gt=0, description="after so long another run may take the place of one")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.peers) not in (0, PARTIES) or len(set(self.peers)) < len(self.peers):
            raise ValueError(f"peers: expected {PARTIES} different addresses host:port, or none, got {self.peers}")
        if len(os.fsencode(self.socket)) > _LONGEST_SOCKET:
            raise ValueError(f"socket: expected a path of at most {_LONGEST_SOCKET} bytes, got {self.socket}")
        return self


C = TypeVar("C", bound=RoleConfig)


def load(path: Path, model: type[C]) -> C:
    """Read and check a role's configuration.

    Raises:
        SpecError: one line naming file, field, what was found and what would be right.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        home = path.resolve().parent
        rooted = {field: str(home / told[field]) for field in ("state", "socket") if isinstance(told.get(field), str)}
        config = model.model_validate(told | rooted)
    except OSError as fault:
        raise SpecError(f"{path}: expected a role's configuration, {fault.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise SpecError(f"{path}: expected TOML, {fault}") from None
    except pydantic.ValidationError as fault:
        raise SpecError(f"{path}: {finding(fault, model)}") from None
    for field, folder in (("state", config.state), ("socket", config.socket.parent)):
        if not folder.is_dir():
            raise SpecError(f"{path}: {field}: expected the folder {folder}; there is none")
    return config


def identity_of(config: RoleConfig) -> Identity:
    """Return the role's lasting key pair, from its state folder.

    Raises:
        SpecError: there is none, or others may read it.
    """
    return Identity.load(config.state / IDENTITY)


def socket_key(config: RoleConfig) -> bytes:
    """Return the key that the relay of this role proves to hold.

    Raises:
        SpecError: the state folder has none, or others may read it.
    """
    path = config.state / SOCKET_KEY
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="ascii").strip()
        key = unhex(text, "key")
    except OSError as fault:
        raise SpecError(f"{path}: expected the relay's key; make it with: keys request ({fault.strerror})") from None
    except (UnicodeDecodeError, WireError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise SpecError(f"{path}: expected {2 * _KEY_BYTES} lower-case hex digits")
    if mode & 0o007:
        raise SpecError(f"{path}: expected a key that others cannot use (mode 600), got {mode & 0o777:o}")
    return key


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
