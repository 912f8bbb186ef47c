"""Reaching site agents over a local socket: how a relay in another process finds its agent.

Whoever holds agents serves them on one Unix socket (:func:`listening`); a relay (:func:`reach`) knows the
socket's path and key, and names the agent by a number. In a simulation the driver serves all agents, tells
path and key by environment, and the number is the node's ``partition-id``. A message is one safetensors
blob whose metadata hold the call's kind and header: no pickle.

Either end may die or stop at any point. To a relay, an agent that does is ``unreachable``; to an agent, a
relay that does is a call that nobody waits for. While an agent works it sends a sign of life (an empty message)
every few seconds: work may take minutes, and one that stopped is known in less.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path

import numpy as np
import safetensors.numpy
from flwr.app import Context

from fedgenome.errors import WireError
from fedgenome.federation.wire import Call, refusal
from fedgenome.sockets import bounded

ADDRESS = "FEDGENOME_AGENTS"  # path of the socket
KEY = "FEDGENOME_AGENTS_KEY"  # hex key both ends prove to hold
KEY_FILE = "FEDGENOME_AGENTS_KEY_FILE"  # or the path of a file that holds it, at a hospital's relay
SILENCE = 600.0  # seconds that a relay waits for an answer
_GREETING_SECONDS = 10.0  # a caller that is silent for longer, before it has asked, is turned away
_CALLERS = 64  # at a time: strangers must not use up threads and files
_MOST_BYTES = (1 << 31) - 1  # of a call; a longer one ends the connection unread
QUIET = 30.0  # seconds without a sign of life past which it waits no longer
_BEAT_SECONDS = 5.0  # between signs of life

Handle = Callable[[str, Call], Call]


def by_environment(context: Context) -> Handle:
    """Return the agent of this node, behind the socket that the environment names; it raises nothing.

    Without a ``partition-id`` in the node's configuration it is the only agent of that socket.
    """
    try:
        file = os.environ.get(KEY_FILE)
        key = bytes.fromhex(os.environ[KEY] if file is None else Path(file).read_text(encoding="ascii").strip())
        return reach(os.environ[ADDRESS], key, int(context.node_config.get("partition-id", 0)))
    except (KeyError, OSError, ValueError):  # whose texts Flower would tell the server
        return lambda _kind, _call: refusal("unreachable", "the relay was started without its agent's socket or key")


def reach(path: str, key: bytes, agent: int, seconds: float = SILENCE, quiet: float = QUIET) -> Handle:
    """Return the agent of number ``agent`` behind the socket at ``path``; it raises nothing.

    Args:
        path: The socket's.
        key: What both ends prove to hold.
        agent: Index into what the other side serves.
        seconds: How long one answer may take. Past that, or with nobody there, it is a refusal
            ``unreachable``.
        quiet: How long it may show no sign of life.
    """

    def handle(kind: str, call: Call) -> Call:
        # A stopped agent takes the connection and never greets, which Client would await for ever.
        heard: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        given = (path, key, _encode(kind, agent, call), heard)
        threading.Thread(target=_exchange, args=given, daemon=True).start()
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            try:
                answer = heard.get(timeout=min(left, quiet))
            except queue.Empty:
                if left > quiet:
                    return refusal("unreachable", f"the site's agent showed no sign of life for {quiet:g} s")
                break
            if answer is not None:
                return answer
        return refusal("unreachable", f"the site's agent gave no answer for {seconds:g} s")

    return handle


def _exchange(path: str, key: bytes, blob: bytes, heard: queue.SimpleQueue[Call | None]) -> None:
    """Put None for every sign of life, then the answer."""
    try:
        with Client(path, "AF_UNIX", authkey=key) as link:
            heard.put(None)
            link.send_bytes(blob)
            while not (told := link.recv_bytes()):
                heard.put(None)
            heard.put(_decode(told)[2])
    except AuthenticationError:
        rule = "the relay's socket.key is not its agent's: copy the one of the agent's state folder to the relay"
        heard.put(refusal("unreachable", rule))
    except (OSError, EOFError, WireError) as fault:
        heard.put(refusal("unreachable", f"the site's agent cannot be reached: {type(fault).__name__}"))


@contextlib.contextmanager
def served(agents: Sequence[Handle], folder: Path) -> Iterator[None]:
    """Serve ``agents`` on a socket in ``folder`` (mode 0700) and name it in the environment."""
    path, key = folder / "agents.sock", secrets.token_bytes(32)
    with listening(agents, path, key):
        os.environ[ADDRESS], os.environ[KEY] = str(path), key.hex()
        try:
            yield
        finally:
            del os.environ[ADDRESS], os.environ[KEY]


@contextlib.contextmanager
def listening(agents: Sequence[Handle], path: Path, key: bytes) -> Iterator[None]:
    """Serve ``agents`` on a socket at ``path``, whose folder is the caller's own, to whoever holds ``key``."""
    path.unlink(missing_ok=True)  # a killed agent leaves its socket; ledger and memory are locked against a living one
    with Listener(str(path), "AF_UNIX", backlog=len(agents)) as listener:
        closed = threading.Event()
        threading.Thread(target=_serve, args=(listener, agents, key, closed), daemon=True).start()
        try:
            yield
        finally:
            closed.set()


def _serve(listener: Listener, agents: Sequence[Handle], key: bytes, closed: threading.Event) -> None:
    free = threading.Semaphore(max(_CALLERS, 2 * len(agents)))
    while not closed.is_set():
        free.acquire()  # ends: callers are silent for a bounded time, and agents answer
        try:
            link = listener.accept()
        except OSError:
            free.release()
            continue
        # Greeted there: a caller that stops in the midst of it must keep nobody else waiting.
        threading.Thread(target=_answer, args=(link, agents, key, free), daemon=True).start()


def _answer(link: Connection, agents: Sequence[Handle], key: bytes, free: threading.Semaphore) -> None:
    # A caller that has gone, or says nothing, is no fault.
    try:
        with link, contextlib.suppress(OSError, EOFError, AuthenticationError):
            bounded(link, _GREETING_SECONDS)
            deliver_challenge(link, key)
            answer_challenge(link, key)
            blob = link.recv_bytes(_MOST_BYTES)
            with _showing_life(link):
                answer = _answered(blob, agents)
            link.send_bytes(_encode("", 0, answer))
    finally:
        free.release()


def _answered(blob: bytes, agents: Sequence[Handle]) -> Call:
    try:
        kind, agent, call = _decode(blob)
    except WireError as fault:
        return refusal("malformed", str(fault))
    return agents[agent](kind, call) if 0 <= agent < len(agents) else refusal("unknown-site", "")


@contextlib.contextmanager
def _showing_life(link: Connection) -> Iterator[None]:
    """Send an empty message every few seconds while the context lasts."""
    done = threading.Event()

    def beat() -> None:
        with contextlib.suppress(OSError):  # a caller that has gone
            while not done.wait(_BEAT_SECONDS):
                link.send_bytes(b"")

    beats = threading.Thread(target=beat, daemon=True)
    beats.start()
    try:
        yield
    finally:
        done.set()
        beats.join()  # two threads that send at once would tear both messages


def _encode(kind: str, agent: int, call: Call) -> bytes:
    header = json.dumps({"kind": kind, "agent": agent, "header": call.header}, allow_nan=False)
    arrays = {name: np.asarray(array, order="C") for name, array in call.arrays.items()}
    return safetensors.numpy.save(arrays, {"call": header})


def _decode(blob: bytes) -> tuple[str, int, Call]:
    try:
        size = int.from_bytes(blob[:8], "little")
        head = json.loads(json.loads(blob[8 : 8 + size])["__metadata__"]["call"])
        arrays = safetensors.numpy.load(blob)
        if not isinstance(head["header"], dict):
            raise TypeError
        return str(head["kind"]), int(head["agent"]), Call(header=head["header"], arrays=arrays)
    except (ArithmeticError, LookupError, ValueError, TypeError, RecursionError, safetensors.SafetensorError) as fault:
        raise WireError(f"call between relay and agent: {type(fault).__name__}") from None
