"""Real processes for tests of what several roles do: forked from one that has imported what they need.

A test hands over the text of a function ``main(rank, told)``; :class:`Crew` runs it once for each rank, in a
process of its own, and collects what it returned or which of fedgenome's errors ended it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedgenome.errors import FedgenomeError
from fedgenome.secure import joining
from fedgenome.secure.generators import Meeting

ALL = (0, 1, 2, 3)


class Crew:
    """A process that forks the roles of one scene after another. A context manager: it leaves none behind."""

    def __init__(self, *modules):
        command = [sys.executable, "-W", "ignore", "-m", "tests.secure.crew", *modules]
        self._pids = {}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, folder, source, told=None, ranks=ALL):
        """Begin a scene and return each rank's process number. ``told`` is for all, or by rank."""
        self._clear()
        self._folder, self._ranks = folder, ranks
        scene = {"folder": str(folder), "source": source, "ranks": ranks, "told": told or {}}
        self.process.stdin.write(json.dumps(scene) + "\n")
        self.process.stdin.flush()
        self._pids = dict(zip(ranks, json.loads(self.process.stdout.readline()), strict=True))
        return self._pids

    def finish(self):
        """Wait for the scene's end; return what each rank's process wrote, nothing for one that was killed."""
        self.process.stdout.readline()
        self._pids = {}
        files = {rank: self._folder / f"{rank}.json" for rank in self._ranks}
        return {rank: json.loads(file.read_text()) for rank, file in files.items() if file.exists()}

    def strike(self, victim, how, others):
        """Signal one rank in mid-scene; return what the others wrote, and after how many seconds they had."""
        pid = self._pids[victim]
        os.kill(pid, how)
        begun = time.monotonic()
        wait_for([self._folder / f"{rank}.json" for rank in others])
        took = time.monotonic() - begun
        if how is signal.SIGSTOP:
            os.kill(pid, signal.SIGKILL)
        ended = self.finish()
        return {rank: ended[rank] for rank in others}, took

    def play(self, folder, source, told=None, ranks=ALL):
        """Run a scene that no rank may fail, and return what each returned."""
        self.start(folder, source, told, ranks)
        ended = self.finish()
        faults = {rank: end["error"] for rank, end in ended.items() if "error" in end}
        assert (faults, set(ended)) == ({}, set(ranks)), "standard error says more"
        return {rank: end["is"] for rank, end in ended.items()}

    def _clear(self):
        """End a scene that a failed test left behind; its processes are not reaped before they are done."""
        for pid in self._pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._pids:
            self.finish()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._clear()
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def identities():
    """Return four fresh private keys as hex."""
    return [Ed25519PrivateKey.generate().private_bytes_raw().hex() for _ in ALL]


def meeting(folder, keys, session="test", addresses=None):
    """Return a meeting of these keys on sockets in ``folder``, as plain values."""
    publics = [private(key).public_key().public_bytes_raw().hex() for key in keys]
    where = addresses or [str(folder / f"{rank}.sock") for rank in range(3)]
    return {"session": session, "identities": publics, "addresses": where}


def scene(folder, timeout=20.0, **more):
    """Return what roles need to meet in ``folder``."""
    keys = identities()
    told = {"meeting": meeting(folder, keys), "keys": keys, "folder": str(folder), "timeout": timeout, "start": 60.0}
    return told | more


def private(key):
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))


def join(rank, told):
    """Join the scene's meeting as a rank, with its own key."""
    return joining.join(Meeting(**told["meeting"]), rank, private(told["keys"][rank]), told["timeout"], told["start"])


def wait_for(files, seconds=60.0):
    """Wait until all files are there."""
    deadline = time.monotonic() + seconds
    while not all(file.exists() for file in files):
        assert time.monotonic() < deadline, f"missing: {[file.name for file in files if not file.exists()]}"
        time.sleep(0.01)


def _act(rank, scene):
    begun = time.monotonic()
    scope = {}
    exec(scene["source"], scope)  # the test's own text
    try:
        end = {"is": scope["main"](rank, scene["told"])}
    except FedgenomeError as fault:
        end = {"error": f"{type(fault).__name__}: {fault}"}
    end["seconds"] = time.monotonic() - begun
    whole = Path(scene["folder"]) / f"{rank}.part"
    whole.write_text(json.dumps(end))
    whole.rename(whole.with_suffix(".json"))


def _fork(rank, scene):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _act(rank, scene)
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def _main():
    for name in sys.argv[1:]:
        module, _, call = name.partition(":")
        held = import_module(module)
        if call:
            getattr(held, call)()
    for line in sys.stdin:
        scene = json.loads(line)
        pids = [_fork(rank, scene) for rank in scene["ranks"]]
        sys.stdout.write(json.dumps(pids) + "\n")
        sys.stdout.flush()
        for pid in pids:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        for pid in pids:  # only now may their numbers be given to others
            os.waitpid(pid, 0)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
