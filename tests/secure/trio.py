"""Three real party processes for tests: who is in the roster, queries, sealed answers, starting and watching."""

import contextlib
import json
import tempfile
import time
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import psutil
import pytest

from fedgenome.errors import Refused
from fedgenome.query import PARTIES, Mechanism, Query, Question, Roster, Terms, choose_scale
from fedgenome.secure import bundle, frames, ring
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.identity import Identity
from fedgenome.secure.parties import Parties
from fedgenome.secure.party import IDENTITY

SITES = [f"site-{index}" for index in range(12)]
SITE_IDS = {site: Identity.generate() for site in SITES}
PARTY_IDS = tuple(Identity.generate() for _ in range(PARTIES))
ROSTER = Roster(
    sites=tuple((site, 100_000, SITE_IDS[site].public) for site in SITES), parties=[one.public for one in PARTY_IDS]
)
TERMS = Terms(caps=ROSTER.caps, colluders=1, quorum=3, roster=ROSTER.digest, plan="p")
NOISE = Mechanism(kind="gaussian", level=1.0)
SEED = 20261121


def a_query(step, length=1000, unit="site", mechanism=None, **changes):
    question = Question(payload={}, length=length, reply_length=length, bound=1.0, mechanism=mechanism, unit=unit)
    scale = choose_scale(question, TERMS)
    given = {"study": "s", "run": "r", "method": "m", "step": step, "attempt": 0, "scale": scale, "terms": TERMS}
    return Query(question=question, **(given | changes))


def vectors(query, sites=SITES):
    """Return {site: integers of both signs}, as large as the query's bound lets one coordinate be."""
    rng = np.random.default_rng(query.step)
    size = int(query.scale)
    return {site: rng.integers(-size, size, query.question.length, endpoint=True) for site in sites}


def sealed(query, publics, site, integers):
    words = integers.astype(np.uint64).astype(ring.dtype_of(query.width))
    parts = bundle.seal(query, site, SITES.index(site), words, publics)
    return parts, bundle.sign(query, site, parts, SITE_IDS[site])


def ask(parties, publics, query, answers):
    """Return what the three parties open for ``answers``."""
    parties.begin(query)
    for site, integers in answers.items():
        parties.deliver(site, *sealed(query, publics, site, integers))
    return ring.signed(parties.reveal(list(answers)))


def joined(parties):
    parties.ready()
    return parties, tuple(key.public for key in parties.pin("s", "r", TERMS, ROSTER))


@contextlib.contextmanager
def started(folder, seed=None, **options):
    with Parties.start(folder, seed, **options) as parties, tempfile.TemporaryDirectory() as kept:
        for index, one in enumerate(PARTY_IDS):
            (Path(kept) / str(index)).mkdir()
            one.save(Path(kept) / str(index) / IDENTITY)
        parties.keep(Path(kept))
        yield joined(parties)


def adds_exactly(pair, query):
    """Whether these parties open the integer sum of all sites' vectors."""
    answers = vectors(query)
    return bool((ask(*pair, query, answers) == sum(answers.values())).all())


@contextlib.contextmanager
def raw(parties, index):
    """Connect to one party with nothing between."""
    parties.hang_up()
    path, key = json.loads(parties.addresses())[index]
    with Client(path, "AF_UNIX", authkey=bytes.fromhex(key)) as link:
        yield link


def asked(parties, index, query, sites):
    """Ask one party for a sum, with nothing between."""
    with raw(parties, index) as link:
        link.send_bytes(frames.encode(Frame(kind=Kind.REVEAL, header={"query": query.digest, "sites": sorted(sites)})))
        return frames.decode(link.recv_bytes())


def refused(code):
    return pytest.raises(Refused, match=rf"^{code}: party \d")


def code_of(call, *args):
    """The code with which a party refuses a call."""
    with pytest.raises(Refused, match=r": party \d") as raised:
        call(*args)
    return raised.value.code


def pids(parties):
    return [handle.process.pid for handle in parties._handles]


def running(pids):
    """Return those that still run; a zombie whose parent died does not."""
    alive = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                alive.append(pid)
    return alive


def gone_within(seconds, pids):
    deadline = time.monotonic() + seconds
    while running(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not running(pids)
