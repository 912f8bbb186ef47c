"""A thousand mutated messages at every Unix socket that a role serves: refused, survived, and nothing kept or charged.

The originals are what relays sent in a true run, recorded in front of each role's socket.
"""

import base64
import contextlib
import json
import re
import time
from dataclasses import dataclass

import pytest

from experiments.harness import Target
from fedgenome.deployment.hospital import site
from fedgenome.federation import agents
from fedgenome.secure import frames
from fedgenome.secure.frames import Kind
from tests.deployment import mutations
from tests.deployment.driving import relayed
from tests.deployment.intruders import Held, held, inside, noted, service_of

MESSAGES = 1000
STRUCK = ("site-1", "party-0", "dealer")
ROLE = "fedgenome (site|party|dealer) serve"
MOST_KIB = 64 << 10  # of growth: what one process's memory may wander by
# In a role's own container: takes the place of its socket, and keeps the fourth message of every caller: two of the
# challenge and its end are before. Ends with its standard input.
RECORDER = """
import base64, json, os, socket, struct, sys, threading
kept = []
os.rename("/link/agents.sock", "/link/true.sock")
server = socket.socket(socket.AF_UNIX)
server.bind("/link/agents.sock")
server.listen(16)
def hand_on(source, sink, seen):
    while block := source.recv(1 << 16):
        seen += block
        sink.sendall(block)
    sink.shutdown(socket.SHUT_WR)
def carry(near):
    seen = bytearray()
    with near, socket.socket(socket.AF_UNIX) as far:
        far.connect("/link/true.sock")
        back = threading.Thread(target=hand_on, args=(far, near, bytearray()), daemon=True)
        back.start()
        try:
            hand_on(near, far, seen)
        except OSError:
            pass
        back.join()
    at = 0
    for number in range(4):
        if len(seen) < at + 4:
            return
        size, = struct.unpack_from("!i", seen, at)
        message, at = bytes(seen[at + 4:at + 4 + size]), at + 4 + size
    kept.append(base64.b64encode(message).decode())
def serve():
    while True:
        threading.Thread(target=carry, args=(server.accept()[0],), daemon=True).start()
threading.Thread(target=serve, daemon=True).start()
print("recording", flush=True)
sys.stdin.read()
os.rename("/link/true.sock", "/link/agents.sock")
print(json.dumps(kept), flush=True)
os._exit(0)"""


@contextlib.contextmanager
def recorded(project, services, kept):
    """Record what relays say to roles; ``kept`` gets it by service, once each, when this ends."""
    recorders = {service: inside(project, service).start(RECORDER) for service in services}
    for recorder in recorders.values():
        assert recorder.stdout.readline() == "recording\n", recorder.stderr.read()
    try:
        yield
    finally:
        for service, recorder in recorders.items():
            out, _ = recorder.communicate("", timeout=60)
            kept[service] = sorted({base64.b64decode(one) for one in json.loads(out)})


@pytest.fixture(scope="module")
def originals(federation):
    """What a true run said to a hospital's agent and to a party, kind by kind."""
    kept = {}
    with recorded(federation, ["agent-1", "party-0"], kept):
        done = federation.conduct()
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = {service: {agents._decode(blob)[0] for blob in blobs} for service, blobs in kept.items()}
    assert kinds["agent-1"] >= {"join", "ask", "close"} and kinds["party-0"] >= {"join", "frames", "close"}
    return kept | {"dealer": kept["party-0"]}


def ledger(project):
    """Return the lines of site-1's ledger that charge or reserve."""
    return re.findall('"(?:charge|reserve)"', project.run_in("agent-1", "cat", f"/state/{site.LEDGER}").stdout)


def is_meant(blob):
    """Whether a mutant still is a call that anybody may make: a hello, or a party's join or close."""
    with contextlib.suppress(agents.WireError):
        return agents._decode(blob)[0] in ("hello", "join", "close")
    return False


def opened(answer):
    """Return whether an answer gave anything away: arrays of a site, or a party's words."""
    replies = [array for name, array in answer.arrays.items() if name.isdecimal()]
    if len(replies) != len(answer.arrays):
        return True
    return any(frames.decode(one.data).kind in (Kind.WORDS, Kind.WINNERS) for one in replies)


@dataclass(frozen=True, kw_only=True)
class Struck:
    """What a role held before and after messages, ledger's lines besides, and what it answered."""

    before: Held
    after: Held
    charged: tuple[list[str], list[str]]
    answers: object


def struck(project, role, send):
    """Return what came of sending."""
    service = service_of(role)
    before, charged = settled(project, service), ledger(project)
    answers = send()
    return Struck(before=before, after=settled(project, service), charged=(charged, ledger(project)), answers=answers)


@pytest.fixture(scope="module")
def calls(federation, originals):
    """A thousand mutated calls at each role, by its own relay's key."""

    def at(role):
        blobs = [blob for _, blob in mutations.mutants(originals[service_of(role)], MESSAGES, seed=20261122)]
        relayed(federation, role, blobs[:100], at_once=32)  # what grows once, grows here
        return blobs, struck(federation, role, lambda: relayed(federation, role, blobs, at_once=32))

    return {role: at(role) for role in STRUCK}


@pytest.mark.parametrize("role", STRUCK)
def test_a_thousand_mutated_calls_are_refused_and_leave_nothing_behind(calls, measured, role):
    blobs, of = calls[role]
    refused = [answer for answer in of.answers if answer is not None and answer.refusal is not None]
    taken = [i for i, answer in enumerate(of.answers) if answer is not None and answer.refusal is None]
    accepted = [i for i in taken if not is_meant(blobs[i]) and opened(of.answers[i])]
    told = (
        f"{len(refused)} refused, {of.answers.count(None)} hung up on; {of.before.text} before, {of.after.text} after"
    )
    noted(measured, "a relay that sends mutated calls", f"socket of {role}", MESSAGES, len(accepted), told)
    assert accepted == [] and len(refused) > 0.9 * MESSAGES and None not in of.answers
    assert of.charged[0] == of.charged[1] and of.after.files.keys() == of.before.files.keys()
    assert grown(of.before.files, of.after.files) <= 2 and grown(of.before.threads, of.after.threads) <= 2
    assert grown(of.before.kib, of.after.kib) < MOST_KIB


def grown(before, after):
    return sum(after.values()) - sum(before.values())


def settled(project, service):
    """Return what a role's processes hold, once no file or thread came or went for a moment."""
    known, now = None, held(project, service, ROLE)
    while (now.files, now.threads) != known:
        known = now.files, now.threads
        time.sleep(1)
        now = held(project, service, ROLE)
    return now


STRANGERS = """
import base64, json, socket, sys
hung = 0
for blob in json.load(sys.stdin):
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect("/link/agents.sock")
        try:
            link.sendall(base64.b64decode(blob))
            link.shutdown(socket.SHUT_WR)
            told = b""
            while block := link.recv(4096):
                told += block
            hung += b"WELCOME" not in told
        except OSError:
            hung += 1
print(json.dumps(hung))"""


@pytest.fixture(scope="module")
def strangers(federation, originals):
    """A thousand mutated messages at each role from somebody who has not its key; how many got no welcome."""

    def at(role):
        framed = [len(blob).to_bytes(4, "big") + blob for blob in originals[service_of(role)]]
        blobs = [base64.b64encode(blob).decode() for _, blob in mutations.mutants(framed, MESSAGES, seed=3)]
        there = inside(federation, service_of(role))
        return struck(federation, role, lambda: there.run(STRANGERS, told=blobs, seconds=600))

    return {role: at(role) for role in STRUCK}


@pytest.mark.parametrize("role", STRUCK)
def test_a_thousand_messages_without_the_key_are_told_nothing(strangers, measured, role):
    of = strangers[role]
    told = f"refused; {of.before.text} before, {of.after.text} after"
    noted(measured, "a caller without the key", f"socket of {role}", MESSAGES, MESSAGES - of.answers, told)
    assert of.answers == MESSAGES and of.charged[0] == of.charged[1]
    assert grown(of.before.files, of.after.files) <= 2


def test_after_all_of_them_the_next_true_run_works(federation, calls, strangers, measured):
    sent = sum(len(blobs) for blobs, _ in calls.values()) + len(strangers) * MESSAGES
    done = federation.conduct()
    failed = Target(name="true runs that fail after mutated messages", value=done.returncode, target=0, sense="at most")
    measured("intruders", failed, who="the coordinator", where="the run after mutated messages", messages=sent,
             outcome="works" if done.returncode == 0 else "fails")  # fmt: skip
    assert sent == 6 * MESSAGES and done.returncode == 0, done.stdout + done.stderr
