"""Reaching site agents over a local socket: how a relay in another process finds its agent.

The driver serves its agents on one Unix socket and passes its address and key by environment; a relay
names the agent by its node's ``partition-id``. A message is one safetensors blob whose metadata hold the
call's kind and header: no pickle.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import numpy as np
import safetensors.numpy
from flwr.app import Context

from fedgenome.errors import WireError
from fedgenome.federation.wire import Call, refusal

ADDRESS = "FEDGENOME_AGENTS"  # path of the socket
KEY = "FEDGENOME_AGENTS_KEY"  # hex key both ends prove to hold

Handle = Callable[[str, Call], Call]


def by_environment(context: Context) -> Handle:
    """Return the agent of this node, behind the socket that the environment names."""
    partition = int(context.node_config["partition-id"])

    def handle(kind: str, call: Call) -> Call:
        with Client(os.environ[ADDRESS], "AF_UNIX", authkey=bytes.fromhex(os.environ[KEY])) as link:
            link.send_bytes(_encode(kind, partition, call))
            return _decode(link.recv_bytes())[2]

    return handle


@contextlib.contextmanager
def served(agents: Sequence[Handle], folder: Path) -> Iterator[None]:
    """Serve ``agents`` on a socket in ``folder`` (mode 0700) and name it in the environment."""
    path, key = str(folder / "agents.sock"), secrets.token_bytes(32)
    with Listener(path, "AF_UNIX", authkey=key) as listener:
        threading.Thread(target=_serve, args=(listener, agents), daemon=True).start()
        os.environ[ADDRESS], os.environ[KEY] = path, key.hex()
        try:
            yield
        finally:
            del os.environ[ADDRESS], os.environ[KEY]


def _serve(listener: Listener, agents: Sequence[Handle]) -> None:
    while True:
        try:
            link = listener.accept()
        except OSError:  # the listener was closed: the run is over
            return
        threading.Thread(target=_answer, args=(link, agents), daemon=True).start()


def _answer(link: Connection, agents: Sequence[Handle]) -> None:
    with link:
        try:
            kind, partition, call = _decode(link.recv_bytes())
        except (WireError, EOFError) as fault:
            link.send_bytes(_encode("", 0, refusal("malformed", type(fault).__name__)))
            return
        known = 0 <= partition < len(agents)
        link.send_bytes(_encode("", 0, agents[partition](kind, call) if known else refusal("unknown-site", "")))


def _encode(kind: str, partition: int, call: Call) -> bytes:
    header = json.dumps({"kind": kind, "partition": partition, "header": call.header}, allow_nan=False)
    arrays = {name: np.asarray(array, order="C") for name, array in call.arrays.items()}
    return safetensors.numpy.save(arrays, {"call": header})


def _decode(blob: bytes) -> tuple[str, int, Call]:
    try:
        size = int.from_bytes(blob[:8], "little")
        head = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"]["call"])
        arrays = safetensors.numpy.load(blob)
        return str(head["kind"]), int(head["partition"]), Call(header=head["header"], arrays=arrays)
    except (KeyError, ValueError, TypeError, safetensors.SafetensorError) as fault:
        raise WireError(f"call between relay and agent: {type(fault).__name__}") from None
