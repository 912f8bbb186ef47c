"""The process of a compute party: it reads messages from its driver's socket and answers them by its Party.

``python -m fedgenome.secure.party_process`` is started by :mod:`fedgenome.secure.handles`. The first line of
stdin is its configuration, the second the folder of its identity and memory; stdin's end is its own.
CrypTen is loaded in the background once the socket listens.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from fedgenome.query import PARTIES, Array
from fedgenome.secure import crypten_runtime, frames, process
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.group import Group
from fedgenome.secure.identity import Identity
from fedgenome.secure.once import Once
from fedgenome.secure.party import ANSWERS, IDENTITY, Party
from fedgenome.streams import Root

STATE = "state"  # a party's folder, where none was named
START_SECONDS = 120.0  # bound on a party's start, its wait for the other two included
_ROOMS = 2  # messages held: one being answered, one being read
_BLOCK = 1 << 16  # words that pass through CrypTen at a time
_FAILED = Frame(kind=Kind.REFUSED, header={"code": "internal", "rule": "the party failed and ends"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Config:
    """What the driver writes on the first line of stdin, as JSON.

    Attributes:
        folder: Of mode 0700, for the sockets.
        peers: Where the three parties listen for each other and the dealer; its own address is the one it listens
            at. Empty: it takes no part in selections.
    """

    index: int
    folder: str
    authkey: str = field(repr=False)
    timeout_seconds: float
    seed: int | None
    peers: tuple[str, ...]


def driver_socket(folder: str, index: int) -> str:
    """Return where a party listens for its driver."""
    return f"{folder}/{index}.sock"


def peer_socket(folder: str, index: int) -> str:
    """Return where a party listens for the other two and the dealer."""
    return f"{folder}/{index}.peer"


def main() -> None:
    """Serve one connection after another until stdin ends: the driver holds its other end.

    The first line of stdin is the configuration, the second the folder of identity and memory: the
    driver knows it later, and loading must not wait for it.
    """
    config = _Config(**process.configured("a party"))
    ready, told = threading.Event(), queue.SimpleQueue[str]()
    process.end_with_driver(lambda: _leave(config, range(PARTIES), 0), told.put)
    try:
        listener = Listener(
            driver_socket(config.folder, config.index), "AF_UNIX", backlog=4, authkey=bytes.fromhex(config.authkey)
        )
    except FileNotFoundError:  # the driver ended already, and the party that noticed first removed the folder
        os._exit(0)
    with listener:
        threading.Thread(target=_load, args=(ready,), daemon=True).start()
        party = _party(config, Path(told.get()))
        while not party.closed:
            link = _accept(listener)
            ready.wait()  # ends: either loading does, or its failure ends the process
            with link:
                _serve(link, party)
    _leave(config, [config.index], 1 if party.failed else 0)


def _party(config: _Config, state: Path) -> Party:
    identity, once = Identity.load(state / IDENTITY), Once(state / ANSWERS)
    group = Group(config.index, identity, config.peers, config.timeout_seconds) if config.peers else None
    return Party(config.index, Root.of(config.seed, "party", config.index), identity, once, _through_crypten, group)


def _accept(listener: Listener) -> Connection:
    while True:
        with contextlib.suppress(OSError, EOFError, AuthenticationError):  # that caller's trouble, not ours
            return listener.accept()


def _serve(link: Connection, party: Party) -> None:
    """Answer one connection's messages in order, reading one ahead so that its sender seldom waits."""
    inbox: queue.SimpleQueue[tuple[memoryview, frames.Room] | None] = queue.SimpleQueue()
    free: queue.SimpleQueue[frames.Room] = queue.SimpleQueue()
    for _ in range(_ROOMS):
        free.put(frames.Room())
    threading.Thread(target=_read, args=(link, free, inbox), daemon=True).start()
    while not party.closed and (read := inbox.get()) is not None:
        message, room = read
        reply = _FAILED
        try:
            reply = party.answer(message)
        finally:  # an unforeseen exception goes on to end the process, but not before a code is sent
            with contextlib.suppress(OSError):
                frames.send(link, reply)
        free.put(room)
        party.prepare()
    party.drop()


def _read(link: Connection, free: queue.SimpleQueue[frames.Room], inbox: queue.SimpleQueue[Any]) -> None:
    with contextlib.suppress(OSError, EOFError):
        while True:
            room = free.get()
            inbox.put((frames.receive(link, room), room))
    inbox.put(None)


def _load(ready: threading.Event) -> None:
    crypten_runtime.load()
    ready.set()


def _through_crypten(total: Array) -> Array:
    """Wrap the words as CrypTen's and take them back, in place and by blocks: it holds 64 bits for every word."""
    for start in range(0, total.size, _BLOCK):
        block = total[start : start + _BLOCK]
        block[:] = crypten_runtime.unwrap(crypten_runtime.wrap(block), 32 if total.dtype == np.uint32 else 64)
    return total


def _leave(config: _Config, parties: Iterable[int], code: int) -> NoReturn:
    """End at once, whatever other threads do, and remove what ``parties`` made; the last one out removes the folder.

    One party where it alone ends; all where the driver has ended: then so do all, and a killed one removed nothing.
    """
    folder = Path(config.folder)
    for index in parties:
        for path in (driver_socket(config.folder, index), peer_socket(config.folder, index)):
            with contextlib.suppress(OSError):
                Path(path).unlink()
        # Memory that was meant for the processes' lives only; otherwise it is elsewhere, and stays.
        shutil.rmtree(folder / STATE / str(index), ignore_errors=True)
    for emptied in (folder / STATE, folder):
        with contextlib.suppress(OSError):
            emptied.rmdir()
    os._exit(code)


if __name__ == "__main__":
    main()
