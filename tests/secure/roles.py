"""Sites, parties and their identities for tests of the protocol, in process: no data, no sockets."""

import functools
from dataclasses import fields

import numpy as np

from fedgenome.query import PARTIES, Mechanism, Query, Question, Roster, Terms, choose_scale
from fedgenome.secure import bundle, frames, ring
from fedgenome.secure.envelope import PartyKey
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.identity import Identity
from fedgenome.secure.once import Once
from fedgenome.secure.party import Party
from fedgenome.streams import Root

SITES = ("a", "b", "c")
SITE_IDS = {site: Identity.generate() for site in SITES}
PARTY_IDS = tuple(Identity.generate() for _ in range(PARTIES))
KEYS = tuple(PartyKey.generate() for _ in range(PARTIES))
PUBLICS = tuple(key.public for key in KEYS)
ROSTER = Roster(
    sites=tuple((site, 100, SITE_IDS[site].public) for site in SITES), parties=[one.public for one in PARTY_IDS]
)
TERMS = Terms(caps=ROSTER.caps, colluders=1, quorum=2, roster=ROSTER.digest, plan="p")
NOISE = Mechanism(kind="gaussian", level=1.0)


def a_query(step=0, terms=TERMS, mechanism=None, length=40, bound=1.0, **changes):
    question = Question(payload={}, length=length, reply_length=length, bound=bound, mechanism=mechanism)
    scale = choose_scale(question, terms)
    given = {"study": "s", "run": "r", "method": "m", "step": step, "attempt": 0, "scale": scale, "terms": terms}
    return Query(question=question, **(given | changes))


def a_selection(step=0, winners=1, scores=40, level=1.0, terms=TERMS, **changes):
    """Return a query for the largest of ``scores``, each moved by at most 1."""
    mechanism = Mechanism(kind="exponential", level=level, winners=winners)
    asked = {"length": scores, "reply_length": winners, "bound": 1.0, "reduce": "select", "mechanism": mechanism}
    question = Question(payload={}, **(asked | changes))
    scale = choose_scale(question, terms)
    given = {"study": "s", "run": "r", "method": "m", "step": step, "attempt": 0, "scale": scale, "terms": terms}
    return Query(question=question, **given)


def a_party(folder, index=0, seed=None):
    """Return a party whose memory lies in ``folder``; it makes the key of KEYS when it is pinned."""
    once = Once(folder / f"party-{index}")
    one = Party(index, Root.of(seed, "party", index), PARTY_IDS[index], once, lambda words: words)
    one._key = KEYS[index]
    return one


class Memory:
    """What Once does, without a disk."""

    def __init__(self):
        self.kept, self.last = {}, ("", None)

    def told(self, key):
        return self.kept.get(key, (None,))[0]

    def body(self, key):
        return self.kept[key][1] if key == self.last[0] else None

    def make_room(self, n_bytes):
        """There always is."""

    def record(self, key, digest, body):
        self.kept[key], self.last = (digest, b"".join(body)), (key, digest)


def a_light_party(index=0, seed=None):
    """Return a party that forgets with this process: for tests of very many."""
    one = Party(index, Root.of(seed, "party", index), PARTY_IDS[index], Memory(), lambda words: words)
    one._key = KEYS[index]
    return one


def begun(query, index=0, sites=(), make=a_light_party):
    """Return a party with an open query and these sites' parts."""
    one = make(index)
    assert pinned(one).kind is Kind.OK
    assert begin(one, query).kind is Kind.OK
    for site in sites:
        assert deliver(one, query, site, index).kind is Kind.OK
    return one


def tell(party, kind, body=b"", **header):
    return party.answer(frames.encode(Frame(kind=kind, header=header, body=body)))


def plain(facts):
    return {each.name: getattr(facts, each.name) for each in fields(facts) if each.init}


def pinned(party, terms=TERMS, study="s", run="r", roster=ROSTER):
    return tell(party, Kind.PIN, study=study, run=run, terms=plain(terms), roster=plain(roster))


def begin(party, query):
    return tell(party, Kind.BEGIN, query=query.header())


def parts_of(query, site, value=1, publics=PUBLICS):
    """Return the three sealed parts of a site whose every number is ``value``."""
    words = np.full(query.question.length, value, ring.dtype_of(query.width))
    return bundle.seal(query, site, SITES.index(site), words, publics)


@functools.cache
def _answer(digest, query, site, value):
    parts = parts_of(query, site, value)
    return (*parts, bundle.sign(query, site, parts, SITE_IDS[site]))


def answer_of(query, site, value=1):
    """Return a site's answer, once made for ever the same: three parts and their stamp."""
    return _answer(query.digest, query, site, value)


def give(party, site, part, stamp):
    return tell(party, Kind.PART, part, site=site, stamp=stamp.hex())


def deliver(party, query, site, index=0, value=1):
    answer = answer_of(query, site, value)
    return give(party, site, answer[index], answer[-1])


def reveal(party, query, sites):
    return tell(party, Kind.REVEAL, query=query.digest, sites=sites)


def code_of(reply):
    assert reply.kind is Kind.REFUSED, reply
    assert not reply.body
    return reply.header["code"]


def words_of(reply, query):
    assert reply.kind is Kind.WORDS, reply
    return np.frombuffer(reply.body, ring.dtype_of(query.width))
