"""The roles as processes: forked from one that has imported what they need, then the real code of each.

``python -m tests.faults.roles`` reads one scene's request a line, {role, told}, and answers with the process
number of a fork that plays it. Each fork ends with this process; parties, whose end is under test, do not.
"""

import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import ClassVar

from fedgenome.errors import FedgenomeError
from fedgenome.federation import agents, site_app
from fedgenome.federation.coordinator import Coordinator
from fedgenome.federation.local_grid import LocalGrid
from fedgenome.federation.site import SiteAgent, pinned
from fedgenome.privacy import accounting  # noqa: F401  (loaded once, for all forks)
from fedgenome.privacy.ledger import Ledger
from fedgenome.secure import crypten_runtime, driver, parties, party_process
from fedgenome.secure.identity import Identity
from fedgenome.secure.once import Once
from fedgenome.secure.parties import Parties
from fedgenome.secure.party import ANSWERS, IDENTITY
from fedgenome.streams import Root
from fedgenome.study import Study
from tests.faults import study as scene
from tests.faults import traps

_PR_SET_PDEATHSIG = 1


class Grid(LocalGrid):
    """As Flower's own grids: every node has its message at once, and answers when it can."""

    def push_messages(self, messages):
        self._done = getattr(self, "_done", {})
        ids = list(super().push_messages(messages))
        for message_id in ids:
            threading.Thread(target=self._run, args=(message_id, self._waiting.pop(message_id)), daemon=True).start()
        return ids

    def _run(self, message_id, message):
        self._done[message_id] = self._deliver(message)

    def pull_messages(self, message_ids):
        return [self._done.pop(message_id) for message_id in message_ids if message_id in self._done]


class Fork:
    """Stands in for ``subprocess.Popen`` of a party: the same process, but it need not import anything."""

    told: ClassVar = {}  # what the scene says of parties

    def __init__(self, command, **_):
        assert command[-1] == "fedgenome.secure.party_process"
        index = Fork.told["next"]
        Fork.told["next"] += 1
        ours, self.stdin = os.pipe()
        self.pid, self.returncode = os.fork(), None
        if not self.pid:
            _play(lambda: _party(index), ours, Fork.told["folder"], f"party-{index}")
        os.close(ours)
        self.stdin = os.fdopen(self.stdin, "wb")
        with (Path(Fork.told["folder"]) / "pids").open("a") as file:
            file.write(f"{self.pid}\n")

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None):
        deadline = time.monotonic() + (1e9 if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("party", timeout)
            time.sleep(0.005)
        return self.returncode

    def kill(self):
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _party(index):
    os.setsid()
    trap = Fork.told.get("trap")
    if trap and trap["role"] == f"party {index}":
        traps.arm("party", trap)
    party_process.main()


def site(told):
    """Be the agent of one site until killed."""
    if told["trap"]:
        traps.arm("site", told["trap"])
    name, home = told["site"], Path(told["folder"]) / "sites" / told["site"]
    study = Study.model_validate(told["study"])
    with Ledger(home / "ledger.jsonl", f"people of {name}") as ledger, Once(home / ANSWERS) as once:
        given = {"ledger": ledger, "once": once, "identity": Identity.load(home / IDENTITY)}
        root = Root.of(scene.SEED, "site", name)
        agent = SiteAgent(
            name, lambda _: scene.shard(name), root=root, admit=pinned(study.digest), public=True, **given
        )
        with agents.listening([agent.handle], home / "agent.sock", bytes.fromhex(told["key"])):
            Path(told["ready"]).touch()
            signal.pause()


def coordinator(told):
    """Conduct the run to its end; write how it ended once no party is left."""
    folder, study = Path(told["folder"]), Study.model_validate(told["study"])
    Fork.told = {"folder": told["folder"], "trap": told["trap"], "next": 0}
    subprocess.Popen = Fork
    for module in (driver, parties):
        module.START_SECONDS = told["start"] or module.START_SECONDS
    _record(folder)
    if told["trap"] and told["trap"]["role"] == "coordinator":
        traps.arm("coordinator", told["trap"])
    with Parties.start(folder, scene.SEED, told["timeout"]) as running:
        running.keep(folder / "parties")
        conducted = Coordinator(scene.job(study, folder, parties=running, timeout=told["timeout"]))
        try:
            conducted.conduct(Grid(site_app.make(lambda context: _reach(context, folder, told)), len(scene.SITES)))
            end = {"answered": conducted.answered}
        except FedgenomeError as fault:
            end = {"error": f"{type(fault).__name__}: {fault}"}
        end["at"] = time.time()
    whole = Path(told["end"])
    whole.with_suffix(".part").write_text(json.dumps(end))
    whole.with_suffix(".part").rename(whole)


def _reach(context, folder, told):
    site = list(scene.SITES)[int(context.node_config["partition-id"])]
    path = str(folder / "sites" / site / "agent.sock")
    return agents.reach(path, bytes.fromhex(told["key"]), 0, told["timeout"])


def _record(folder):
    """Note in a file what the coordinator asks, is sent, has opened, and what comes of it."""
    log = os.open(folder / "log.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    begin, reveal, add = Parties.begin, Parties.reveal, Coordinator._add

    def note(event, query, **facts):
        when = [query.method, query.step, query.attempt]
        os.write(log, json.dumps({"event": event, "when": when, **facts}).encode() + b"\n")

    def noted_begin(self, query):
        note("asked", query)
        begin(self, query)

    def noted_reveal(self, sites):
        query = self._query
        note("revealing", query, sites=sorted(sites))
        total = reveal(self, sites)
        note("opened", query, sites=sorted(sites), words=total.tolist())
        return total

    def noted_add(self, query, site, answer, total):
        sent = b"".join(array.tobytes() for _, array in sorted(answer.arrays.items()))
        note("received", query, site=site, sha256=hashlib.sha256(sent).hexdigest())
        return add(self, query, site, answer, total)

    Parties.begin, Parties.reveal, Coordinator._add = noted_begin, noted_reveal, noted_add


def _play(main, stdin, folder, name):
    """Be a role in a process that was just forked: nothing of its parent's is open."""
    code = 1
    try:
        os.dup2(stdin, 0)
        error = os.open(Path(folder) / f"{name}.err", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(error, 2)
        os.closerange(3, 1024)
        sys.stdin = os.fdopen(0, closefd=False)
        main()
        code = 0
    finally:
        if code:
            traceback.print_exc()
        os._exit(code)


def _begin(request):
    main, told = {"site": site, "coordinator": coordinator}[request["role"]], request["told"]
    pid = os.fork()
    if pid:
        return pid
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return _play(lambda: main(told), os.open(os.devnull, os.O_RDONLY), told["folder"], told["name"])


def _main():
    crypten_runtime.load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a role ended: it tells, or it was killed
    for line in sys.stdin:
        sys.stdout.write(f"{_begin(json.loads(line))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
