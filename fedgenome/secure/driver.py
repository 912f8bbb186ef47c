"""Reach, watch and end processes of parties and dealer, from their driver's side; what is said is others' business.

A process that dies or falls silent is a :class:`RoleError` that names it, raised by the next call (a call in
progress included). After that, as after Ctrl-C, :meth:`Driver.close` ends the others.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from fedgenome.closing import Closing
from fedgenome.errors import RoleError, WireError
from fedgenome.secure import frames
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.handles import Handle, dial
from fedgenome.secure.party_process import START_SECONDS
from fedgenome.sockets import bounded

GLANCE_SECONDS = 0.2  # between looks at the processes while waiting
GRACE_SECONDS = 1.0  # that processes have to leave before they are killed


class Driver(Closing):
    """The driver's end of some processes; a context manager that leaves none of them behind. Not safe for threads.

    Args:
        handles: Of the processes that are talked to.
        folder: Removed by :meth:`close`; None: there is nothing to remove.
        timeout_seconds: Silence that counts as failure.
    """

    def __init__(self, handles: Sequence[Handle], folder: Path | None, timeout_seconds: float) -> None:
        self._handles, self._folder, self._timeout = tuple(handles), folder, timeout_seconds
        self._room = frames.Room()  # of the last reply

    @property
    def _all(self) -> tuple[Handle, ...]:
        """All that end with this, also those that nothing is said to."""
        return self._handles

    def ask(self, frame: Frame, seconds: float | None = None) -> Frame:
        """Send the first process a request and return its reply, be it a refusal.

        Args:
            frame: What is asked.
            seconds: Silence that counts as failure, where it is not the usual.

        Returns:
            The reply; its body lasts until the next one.

        Raises:
            RoleError: the process ended, is silent, or sent no frame.
        """
        handle = self._handles[0]
        self._send(handle, frame.kind, frame.header, frame.body)
        return self._heard(handle, seconds)

    def check(self) -> None:
        """Raise unless every process started here still runs; costs three system calls.

        Raises:
            RoleError: one has ended; the message names it and how.
        """
        codes = [
            (code, handle.index, handle.name)
            for handle in self._all
            if handle.process is not None and (code := handle.process.poll()) is not None
        ]
        if codes:
            # A party killed at the start takes the others with it: a signal is the cause, an exit code the effect.
            code, _, name = min(codes)
            raise RoleError(f"{name} ended ({f'signal {-code}' if code < 0 else f'exit code {code}'})")

    def hang_up(self) -> None:
        """End the connections and keep the parties, so that another process can :meth:`connect`."""
        for handle in self._handles:
            if handle.link is not None:
                handle.link.close()
            handle.link = None
            handle.owed.clear()

    def close(self) -> None:
        """End everything: hang up, close the pipes, wait a second, kill. Repeating it does nothing."""
        self.hang_up()
        processes = [handle.process for handle in self._all if handle.process is not None]
        for process in processes:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _send(self, handle: Handle, kind: Kind, header: Mapping[str, object], body: bytes | memoryview = b"") -> None:
        link = self._link(handle)
        try:
            frames.send(link, Frame(kind=kind, header=header, body=body))
        except BlockingIOError:
            raise self._silent(handle, self._timeout) from None
        except OSError:
            raise self._lost(handle) from None
        handle.owed.append(f"{kind.name} {header.get('site', '')}".rstrip())

    def _heard(self, handle: Handle, seconds: float | None = None) -> Frame:
        """Return the next reply, be it a refusal, watching all the processes; its body lasts until the one after."""
        link, seconds = self._link(handle), seconds or self._timeout
        deadline = time.monotonic() + seconds
        try:
            while not frames.ready(link, GLANCE_SECONDS):
                self.check()
                if time.monotonic() > deadline:
                    raise self._silent(handle, seconds)
            reply = frames.decode(frames.receive(link, self._room))
        except BlockingIOError:  # in the middle of a reply
            raise self._silent(handle, self._timeout) from None
        except (EOFError, OSError):
            raise self._lost(handle) from None
        except WireError as fault:
            raise RoleError(f"{handle.name} sent no valid frame: {fault}") from None
        handle.owed.popleft()
        return reply

    def _link(self, handle: Handle) -> Connection:
        """Return the connection to a process, made once its socket is there."""
        deadline = time.monotonic() + START_SECONDS
        while handle.link is None:
            # Client has no timeout of its own, and a party that serves another connection does not greet:
            # a thread waits, and the party's end sets it free.
            answer: queue.SimpleQueue[Connection | None] = queue.SimpleQueue()
            threading.Thread(target=dial, args=(handle.path, handle.key, answer), daemon=True).start()
            link = self._dialled(handle, answer, deadline)
            handle.link = link and bounded(link, self._timeout)
        return handle.link

    def _dialled(
        self, handle: Handle, answer: queue.SimpleQueue[Connection | None], deadline: float
    ) -> Connection | None:
        while True:
            self.check()
            if time.monotonic() > deadline:
                raise self._silent(handle, START_SECONDS)
            with contextlib.suppress(queue.Empty):
                return answer.get(timeout=GLANCE_SECONDS)

    def _lost(self, handle: Handle) -> RoleError:
        if handle.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # the socket goes just before the process
                handle.process.wait(GRACE_SECONDS)
        self.check()
        return RoleError(f"{handle.name} closed its connection")

    def _silent(self, handle: Handle, seconds: float) -> RoleError:
        return RoleError(f"{handle.name} gave no answer for {seconds:g} s")
