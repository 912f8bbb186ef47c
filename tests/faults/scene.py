"""One run under one schedule: processes started, one struck, what is left looked for, the rest of the run resumed."""

import contextlib
import fcntl
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time

from fedgenome.federation import agents
from fedgenome.federation.wire import Call
from fedgenome.secure.party import ANSWERS
from tests.faults import study as scene
from tests.secure.trio import gone_within, running

PATIENT = 60.0  # seconds that a run which nobody strikes waits for one answer
START = 5.0  # timeouts that a struck run waits for parties to start
WAITS = {"party": START, "site": 6, "coordinator": 6}  # timeouts that may pass in vain, one after the other
BUSY = 10.0  # seconds on top that a busy machine may take
PARTY_ENDS = 6.0  # seconds after its driver's end, or its stop
ALL = dict.fromkeys(scene.LABELS, 1)  # queries answered by a whole run


class Nursery:
    """The process that forks all others. A context manager: what it forked ends with it."""

    def __init__(self):
        command = [sys.executable, "-W", "ignore", "-m", "tests.faults.roles"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fork(self, role, told):
        self._process.stdin.write(json.dumps({"role": role, "told": told}) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Scene:
    """The processes of one run in one folder. A context manager: it leaves none behind."""

    def __init__(self, nursery, folder, schedule, timeout):
        self.folder, self.schedule, self.timeout = folder, schedule, timeout
        self.patience = BUSY + 2 * timeout * WAITS[schedule.kind]  # seconds after which a struck run hangs
        self.study = scene.agreed(folder, schedule.trust, schedule.quorum)
        self.mark = folder / "mark"
        self._nursery, self._key, self._lives = nursery, secrets.token_hex(32), 0
        self.sites, self.coordinator = {}, 0

    def _told(self, name, role, armed, **more):
        self._lives += 1
        trap = self.schedule.trap(self.mark) if armed and self.schedule.kind == role else None
        given = {"folder": str(self.folder), "study": self.study.model_dump(mode="json", by_alias=True)}
        return given | {"key": self._key, "name": f"{self._lives}-{name}", "trap": trap} | more

    def start_site(self, site, *, armed=False):
        ready = self.folder / f"ready-{self._lives}"
        armed = armed and self.schedule.role == f"site {site}"
        self.sites[site] = self._nursery.fork("site", self._told(site, "site", armed, site=site, ready=str(ready)))
        wait_until(ready.exists, 30, f"site {site} to start")

    def conduct(self, timeout, *, armed=False):
        """Start the coordinator, and the parties with it; return where it will tell how it ended."""
        start = START * timeout if armed else None
        told = self._told("coordinator", "coordinator", armed, timeout=timeout, start=start)
        told["trap"] = self.schedule.trap(self.mark) if armed and self.schedule.kind != "site" else None
        told["end"] = str(self.folder / f"end-{self._lives}.json")
        self.coordinator = self._nursery.fork("coordinator", told)
        return self.folder / f"end-{self._lives}.json"

    @property
    def struck(self):
        """Process number of the struck role, once its trap has sprung; None of a party's, which are not told apart."""
        return {"coordinator": self.coordinator, "site": self.sites.get(self.schedule.role[5:])}.get(self.schedule.kind)

    def parties(self):
        path = self.folder / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def settled(self):
        """Wait until no site is at work any more for a coordinator that has gone."""
        for site in self.sites:
            path = str(self.folder / "sites" / site / "agent.sock")
            answer = agents.reach(path, bytes.fromhex(self._key), 0, PATIENT)("join", Call(header={}))
            assert answer.refusal[0] == "malformed", answer.refusal

    def __enter__(self):
        return self

    def __exit__(self, *_):
        everyone = [self.coordinator, *self.sites.values(), *self.parties()]
        for pid in running([pid for pid in everyone if pid]):
            _send(pid, signal.SIGKILL)
        assert gone_within(5, everyone)
        wait_until(lambda: all(map(_free, (self.folder / "sites").iterdir())), 5, "the sites' files")


def _send(pid, what):
    with contextlib.suppress(ProcessLookupError):  # the run may have ended, and its parties with it
        os.kill(pid, what)


def wait_until(happened, seconds, what):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.01)


def play_out(nursery, folder, schedule, timeout):
    """Run until the struck run has ended, mend what was struck, run the rest; return the scene and how both ended.

    ``timeout`` is how long the struck run waits for one answer, seconds. Both ends are None if it ended before
    the trap was reached: the machine was too busy for that timeout.
    """
    with Scene(nursery, folder, schedule, timeout) as play:
        first = last = _strike(play)
        if first is None:
            return play, None, None
        _mend(play)
        if first.get("answered") != ALL:
            last = _ended(play, play.conduct(PATIENT), PATIENT)
        play.settled()
    return play, first, last


def _strike(play):
    """Run until the first coordinator has ended; return how, {} for one that was killed, None if none was struck."""
    for site in scene.SITES:
        play.start_site(site, armed=True)
    end = play.conduct(play.timeout, armed=True)
    wait_until(lambda: play.mark.exists() or _over(play, end), play.patience, f"the trap of {play.schedule}")
    if not play.mark.exists():
        return None
    how, kind = play.schedule.how, play.schedule.kind
    if how == "pause":
        time.sleep(play.timeout / 4)
        for pid in play.parties() if kind == "party" else [play.struck]:
            _send(pid, signal.SIGCONT)
    elif kind == "coordinator" and how != "kill":
        time.sleep(play.timeout * 1.2)
        _send(play.struck, signal.SIGCONT if how == "stop" else signal.SIGKILL)
    return _ended(play, end, play.patience)


def _mend(play):
    """Continue a stopped site or kill it after all; restart a site that was killed."""
    if play.schedule.kind == "site" and play.schedule.how == "stop":
        _send(play.struck, signal.SIGCONT)
    if play.schedule.kind == "site" and play.schedule.how in ("kill", "freeze"):
        _send(play.struck, signal.SIGKILL)
        site = play.schedule.role.split()[1]
        wait_until(lambda: _free(play.folder / "sites" / site), 5, f"{site} to be gone")
        play.start_site(site)


def _over(play, end):
    return end.exists() or not running([play.coordinator])


def _ended(play, end, seconds):
    """Wait for a coordinator's end, and its parties'; return how it ended, {} for one that was killed."""
    wait_until(lambda: _over(play, end), seconds, f"the end of {play.schedule}")
    assert gone_within(PARTY_ENDS, [play.coordinator, *play.parties()]), f"a process is left: {play.schedule}"
    wait_until(lambda: all(map(_free, (play.folder / "parties").iterdir())), 5, "the parties' files")
    return json.loads(end.read_text()) if end.exists() else {}


def _free(home):
    """Whether no process has a role's files any more: one with threads is a zombie before it has let go of them."""
    for path in (home / "ledger.jsonl", home / ANSWERS):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
    return True


def ends_as_it_should(play, first):
    """Whether the struck run went on without the role, or ended with one line that names it, in time."""
    schedule = play.schedule
    killed = schedule.kind == "coordinator" and schedule.how in ("kill", "freeze")
    if killed or not first:
        return killed and not first
    if first["at"] - play.mark.stat().st_mtime > play.patience:
        return False
    spared = schedule.how == "pause" or (schedule.kind == "site" and schedule.quorum < len(scene.SITES))
    return first.get("answered") == ALL or (not spared and names_the_role(play, first["error"]))


def names_the_role(play, error):
    """Whether an error is the one line that this fault may end a run with."""
    role = play.schedule.role.split()[-1]
    silent = f"({play.timeout:g}|{START * play.timeout:g}) s"
    expected = {
        "site": rf"RoleError: .*(missing: |not ){role}( \(.*\))?",
        "party": rf"RoleError: party {role} (ended \(signal 9\)|gave no answer for {silent})",
        "coordinator": r"RoleError: .*",
    }[play.schedule.kind]
    return re.fullmatch(expected, error) is not None
