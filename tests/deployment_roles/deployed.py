"""Three parties and a dealer as their operators run them, for tests: folders, daemons, and messages between them."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import structlog

from fedgenome.deployment import roles
from fedgenome.deployment.compute.dealer import DealerConfig, DealerDaemon
from fedgenome.deployment.compute.party import PartyConfig, PartyDaemon
from fedgenome.errors import RoleError
from fedgenome.federation import agents
from fedgenome.federation.remote import RemoteParties
from fedgenome.federation.wire import Call, from_records, to_records
from fedgenome.query import PARTIES, Mechanism, Query, Question, choose_scale
from fedgenome.secure import bundle, frames, ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.generators import DEALER, ROLES
from fedgenome.secure.identity import Identity
from fedgenome.secure.noise import sampler
from fedgenome.secure.party import IDENTITY
from fedgenome.streams import Root
from fedgenome.study import Plan, Study

SEED, RUN = 20261122, "run-1"
SITES = ("berlin", "graz", "vienna")
SITE_IDS = {site: Identity.generate() for site in SITES}
ROLE_IDS = tuple(Identity.generate() for _ in ROLES)
SIGNER = Identity.generate()
PLAN = Plan(mechanisms=(Mechanism(kind="exponential", level=50.0),))
NOISE = Mechanism(kind="gaussian", level=1.0)
STUDY = Study.model_validate(
    {
        "name": "small",
        "schema": {"genes": ["A", "B"], "labels": ["x", "y"], "high": 4.0},
        "methods": [{"kind": "marginals"}],
        "privacy": {"trust": "none"},
        "donors_bound": 60,
        "quorum": 2,
        "roster": [{"name": site, "cap": 1000, "key": SITE_IDS[site].public} for site in SITES],
        "parties": [one.public for one in ROLE_IDS[:PARTIES]],
        "dealer": ROLE_IDS[DEALER].public,
    }
)
TERMS = STUDY.terms(PLAN)
SIGNATURES = [{"signer": SIGNER.public, "signature": SIGNER.sign("study", [STUDY.digest]).hex()}]
JOINING = {
    "study": STUDY.model_dump(mode="json", by_alias=True),
    "plan": PLAN.model_dump(mode="json"),
    "run": RUN,
    "signatures": SIGNATURES,
}
PINNING = {"study": STUDY.digest, "run": RUN, "terms": TERMS, "roster": STUDY.keys}


def a_query(step, length=50, mechanism=None, run=RUN, **asked):
    given = {"length": length, "reply_length": length, "bound": 1.0, "unit": "site"} | asked
    question = Question(payload={}, mechanism=mechanism, **given)
    when = {"study": STUDY.digest, "run": run, "method": "m", "step": step, "attempt": 0}
    return Query(question=question, terms=TERMS, scale=choose_scale(question, TERMS), **when)


def a_selection(step, scores=20):
    noise = Mechanism(kind="exponential", level=50.0)
    asked = {"reply_length": 1, "unit": "donor", "reduce": "select", "monotone": True}
    return a_query(step, scores, noise, **asked)


def vectors(query, sites=SITES):
    """Return {site: integers of both signs}."""
    rng = np.random.default_rng(query.step)
    return {site: rng.integers(-1000, 1000, query.question.length, endpoint=True) for site in sites}


def sealed(query, keys, site, integers):
    """Return a site's three parts and its stamp."""
    words = integers.astype(np.uint64).astype(ring.dtype_of(query.width))
    parts = bundle.seal(query, site, SITES.index(site), words, [key.public for key in keys])
    return parts, bundle.sign(query, site, parts, SITE_IDS[site])


def deliver(remote, keys, query, answers):
    remote.begin(query)
    for site, integers in answers.items():
        remote.deliver(site, *sealed(query, keys, site, integers))


def asked(remote, keys, query, answers):
    """Return what the parties open for ``answers``."""
    deliver(remote, keys, query, answers)
    return ring.signed(remote.reveal(list(answers)))


def noise_of(query):
    """Recompute the noise that three seeded parties add, wherever they run."""
    out = np.zeros(query.question.length, np.uint64)
    for index in range(PARTIES):
        stream = Root.simulation(SEED, "party", index).stream("noise", query.method, query.step, query.attempt)
        sampler(query.sigma_party).add_to(out, stream)
    return ring.signed(out)


def packed(*asked):
    return Call(header={}, arrays={str(i): np.frombuffer(frames.encode(f), np.uint8) for i, f in enumerate(asked)})


def unpacked(answer):
    return [frames.decode(answer.arrays[str(i)].data) for i in range(len(answer.arrays))]


def ending(query, sites):
    return packed(Frame(kind=Kind.REVEAL, header={"query": query.digest, "sites": sorted(sites)}))


class InProcessPost:
    """Carries calls to handles of this process, through Flower's records; those of ``lost`` get nothing.

    Attributes:
        handles: By role.
        lost: Roles that nothing reaches.
        twice: Whether every message is delivered a second time, whose answer counts.
        sent: (kind, role) of every message.
    """

    def __init__(self, handles):
        self.handles, self.lost, self.twice, self.sent = handles, set(), False, []

    def discover(self, wanted, least):
        found = dict(self.ask("hello", dict.fromkeys(wanted, Call(header={}))))
        if len(found) < least:
            raise RoleError(f"missing: {', '.join(name for name in wanted if name not in found)}")
        return found

    def ask(self, kind, calls):
        there = {role: call for role, call in calls.items() if role not in self.lost}
        self.sent += [(kind, role) for role in there]
        with ThreadPoolExecutor(len(ROLES)) as pool:
            yield from zip(there, pool.map(lambda role: self._carry(kind, role, there[role]), there), strict=True)

    def _carry(self, kind, role, call):
        for _ in range(1 + self.twice):
            answer = self.handles[role](kind, from_records(to_records(call)))
        return from_records(to_records(answer))


def remote_over(post, **changes):
    return RemoteParties(post, STUDY, PLAN, RUN, SIGNATURES, **changes)


# ── daemons ──────────────────────────────────────────────────────────────────────────────────────


def a_log():
    stream = io.StringIO()
    return structlog.wrap_logger(
        structlog.PrintLogger(stream), processors=[structlog.processors.JSONRenderer()]
    ), stream


def free_addresses():
    """Return addresses on loopback where nobody listens now."""
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(PARTIES)]
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in taken]


def folder_of(home, rank):
    """Make a role's state folder, as its operator has it."""
    state = home / ROLES[rank]
    state.mkdir()
    ROLE_IDS[rank].save(state / IDENTITY)
    (state / roles.SOCKET_KEY).touch(0o600)
    (state / roles.SOCKET_KEY).write_text(os.urandom(32).hex())
    return state


def facts(home, rank, peers):
    """Return what a role's configuration says."""
    told = {"state": str(folder_of(home, rank)), "socket": str(home / f"{rank}.sock"), "peers": peers}
    told |= {"signers": [SIGNER.public], "timeout_seconds": 30.0}
    if rank < PARTIES:
        told |= {"index": rank, "listen": peers[rank], "public": True, "seed": SEED}
    return told


def toml(told):
    return "".join(
        f"{name} = {str(value).lower() if type(value) is bool else value!r}\n" for name, value in told.items()
    )


class Deployed:
    """Parties 0 and 1 and the dealer as daemons of this process, party 2 started by the command line."""

    def __init__(self, home, stack):
        peers = free_addresses()
        told = [facts(home, rank, peers) for rank in range(len(ROLES))]
        self.log, self.logged = a_log()
        configs = [PartyConfig.model_validate(each) for each in told[:PARTIES]]
        self.configs = [*configs, DealerConfig.model_validate(told[DEALER])]
        self.daemons = {ROLES[i]: stack.enter_context(PartyDaemon(configs[i], self.log)) for i in (0, 1)}
        self.daemons["dealer"] = stack.enter_context(DealerDaemon(self.configs[DEALER], self.log))
        self.file = home / "party-2.toml"
        self.file.write_text(toml(told[2]))
        self.process = None
        stack.callback(self.kill)
        self.start()
        reached = agents.reach(str(configs[2].socket), roles.socket_key(configs[2]), 0)
        self.post = InProcessPost({role: daemon.handle for role, daemon in self.daemons.items()} | {"party-2": reached})

    def start(self):
        """Start party 2's daemon and wait until it listens."""
        command = [sys.executable, "-W", "ignore", "-m", "fedgenome.cli", "party", "serve", str(self.file)]
        self.configs[2].socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert "serving" in self.process.stderr.readline()

    def kill(self):
        """End party 2's daemon as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stderr.close()

    def child(self, role):
        """Return the process that works for a daemon of this process."""
        return self.daemons[role]._child._handles[0].process


def await_listener(address, seconds=60.0):
    """Return a connection to an address, once somebody listens."""
    host, port = address.split(":")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection((host, int(port)), 10)
        time.sleep(0.05)
    raise AssertionError(f"nobody listens at {address}")
