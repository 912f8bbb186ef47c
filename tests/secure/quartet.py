"""Three real parties and a dealer for tests of selections."""

import contextlib
import json
import threading
from multiprocessing.connection import Client

import numpy as np

from fedgenome.query import PARTIES, Mechanism, Query, Question, Roster, Terms, choose_scale
from fedgenome.secure import frames
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.parties import Parties
from tests.secure.trio import SITE_IDS, SITES, sealed


class Quartet:
    """Parties that keep ``folder``, pinned; the dealer with them."""

    def __init__(self, parties, folder):
        self.parties, self.kept = parties, folder
        keys = parties.keep(folder, dealer=True)
        sites = tuple((site, 1000, SITE_IDS[site].public) for site in SITES)
        self.roster = Roster(sites=sites, parties=keys[:PARTIES], dealer=keys[PARTIES])
        self.terms = Terms(caps=self.roster.caps, colluders=1, quorum=2, roster=self.roster.digest, plan="p")
        parties.ready()
        self.publics = tuple(key.public for key in parties.pin("s", "r", self.terms, self.roster))

    def query(self, step, scores=20, winners=1, level=50.0, bound=1.0, monotone=True):
        """Return a query for the winners; by default noise is nil but for a chance of 2e-22 a score."""
        noise = Mechanism(kind="exponential", level=level, winners=winners)
        return self._query(step, scores, winners, bound, mechanism=noise, reduce="select", monotone=monotone)

    def a_sum(self, step, length=20):
        """Return a query for a sum without noise."""
        return self._query(step, length, length, 1.0, mechanism=None)

    def _query(self, step, length, reply_length, bound, **asked):
        question = Question(payload={}, length=length, reply_length=reply_length, bound=bound, **asked)
        when = {"study": "s", "run": "r", "method": "m", "step": step, "attempt": 0}
        return Query(question=question, terms=self.terms, scale=choose_scale(question, self.terms), **when)

    def deliver(self, query, answers, parties=(0, 1, 2)):
        """Hand these parties, already asked, their parts of the sites' scores."""
        for site, scores in answers.items():
            parts, stamp = sealed(query, self.publics, site, scores)
            for index in parties:
                told = {"site": site, "stamp": stamp.hex()}
                self.parties._send(self.parties._handles[index], Kind.PART, told, parts[index])

    def ask(self, query, answers):
        """Return the winners of these sites' scores, integers."""
        self.parties.begin(query)
        self.deliver(query, answers)
        return self.parties.select(list(answers)).tolist()

    def end_each(self, query, sites):
        """Ask each party, on the driver's connection, for the end with its own ``sites``; return their refusals."""
        for handle, told in zip(self.parties._handles, sites, strict=True):
            self.parties._send(handle, Kind.REVEAL, {"query": query.digest, "sites": sorted(told)})
        return [refusal.code for handle in self.parties._handles for refusal in self.parties._settle(handle)[1]]

    def asked(self, query, sites):
        """Ask all three for the end at once, with nothing between, each for its own ``sites``; return their replies."""
        self.parties.hang_up()
        replies = [None] * PARTIES

        def one(index, path, key):
            header = {"query": query.digest, "sites": sorted(sites[index])}
            with Client(path, "AF_UNIX", authkey=bytes.fromhex(key)) as link:
                link.send_bytes(frames.encode(Frame(kind=Kind.REVEAL, header=header)))
                replies[index] = frames.decode(link.recv_bytes())

        told = enumerate(json.loads(self.parties.addresses()))
        threads = [threading.Thread(target=one, args=(index, *address)) for index, address in told]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return replies

    @property
    def pids(self):
        """The parties' process numbers, then the dealer's."""
        return [handle.process.pid for handle in self.parties._all]


@contextlib.contextmanager
def quartet(folder, kept=None, timeout_seconds=20.0):
    with Parties.start(folder, None, timeout_seconds=timeout_seconds) as parties:
        yield Quartet(parties, kept or folder / "kept")


def top(answers, winners):
    """Return the indices of the largest sums, ties in order of index: by a sort of all."""
    totals = np.sum(list(answers.values()), axis=0)
    return sorted(range(totals.size), key=lambda index: (-int(totals[index]), index))[:winners]
