"""What the driver holds of one role's process: how it is started, told and reached."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection
from pathlib import Path

import fedgenome
from fedgenome.query import PARTIES
from fedgenome.secure.party_process import driver_socket, peer_socket


@dataclass(slots=True, kw_only=True, eq=False)
class Handle:
    """What the driver holds of one party, or of the dealer: ``owed`` are the requests that still lack a reply."""

    index: int
    path: str
    key: bytes = field(repr=False)
    process: subprocess.Popen[bytes] | None = None
    link: Connection | None = None
    owed: deque[str] = field(default_factory=deque)

    @property
    def name(self) -> str:
        """The role, as errors name it."""
        return f"party {self.index}" if self.index < PARTIES else "dealer"


def spawn_party(
    index: int, folder: Path, seed: int | None, timeout_seconds: float, peers: Sequence[str] | None = None
) -> Handle:
    """Start one party and tell it where it listens and how patient it is.

    Args:
        index: Which of the three.
        folder: Of mode 0700, for its sockets.
        seed: A simulation's, or None.
        timeout_seconds: Silence of a peer that counts as its failure.
        peers: Where the three listen for each other; None: at Unix sockets in ``folder``, empty: nowhere.
    """
    handle = spawn(index, "fedgenome.secure.party_process")
    handle.path, handle.key = driver_socket(str(folder), index), secrets.token_bytes(32)
    where = [peer_socket(str(folder), rank) for rank in range(PARTIES)] if peers is None else list(peers)
    facts = {"index": index, "folder": str(folder), "seed": seed, "timeout_seconds": timeout_seconds, "peers": where}
    tell(handle, facts | {"authkey": handle.key.hex()})
    return handle


def spawn(index: int, module: str) -> Handle:
    """Start a role's process; its configuration is the first line of stdin, the pipe's end its death."""
    process = subprocess.Popen(
        # -P: the user's folder must not come first on the path.
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,  # Ctrl-C reaches the driver only, which then ends its parties
    )
    return Handle(index=index, path="", key=b"", process=process)


def tell(handle: Handle, line: object) -> None:
    """Write one line of JSON to a party's stdin."""
    pipe = handle.process and handle.process.stdin
    if pipe:
        with contextlib.suppress(BrokenPipeError):  # it ended already: check() says so
            pipe.write(json.dumps(line).encode() + b"\n")
            pipe.flush()


def _environment() -> dict[str, str]:
    """Return our environment with one thread, and with this very copy of fedgenome importable."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    home = Path(fedgenome.__file__).resolve().parent.parent
    if home.name not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(home), os.environ.get("PYTHONPATH")]))
    return environment


def dial(path: str, key: bytes, answer: queue.SimpleQueue[Connection | None]) -> None:
    """Put a connection to ``path``, or None after a moment if nobody listens yet, where the caller waits for it."""
    try:
        answer.put(Client(path, "AF_UNIX", authkey=key))
    except (OSError, EOFError, AuthenticationError):
        time.sleep(0.02)  # not listening yet; ask again
        answer.put(None)
