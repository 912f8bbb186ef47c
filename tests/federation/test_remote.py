"""Parties behind messages: how few there are, what a bad answer is called, and what happens after one."""

import numpy as np
import pytest

from fedgenome.errors import Refused, RoleError
from fedgenome.federation import site_app
from fedgenome.federation.coordinator import Coordinator
from fedgenome.federation.local_grid import LocalGrid
from fedgenome.federation.remote import RemoteParties
from fedgenome.federation.wire import Call, refusal
from fedgenome.query import PARTIES
from fedgenome.secure.frames import Frame, Kind
from fedgenome.secure.generators import ROLES
from fedgenome.secure.party import Party
from fedgenome.streams import Root
from fedgenome.study import Plan
from tests.deployment_roles.deployed import (
    NOISE,
    PINNING,
    ROLE_IDS,
    RUN,
    SEED,
    SITES,
    STUDY,
    InProcessPost,
    a_query,
    asked,
    deliver,
    noise_of,
    packed,
    sealed,
    vectors,
)
from tests.federation.small import PARTY_IDS, make_plan, make_study
from tests.secure.roles import Memory

SUMS = Plan()  # no selections: no dealer


class Desk:
    """A party's daemon without a process: the real state machine, whose memory outlives it.

    Attributes:
        spoil: Stands in for the reply to frames.
    """

    def __init__(self, index, identity):
        self.index, self.identity, self.memory, self.party, self.spoil = index, identity, Memory(), None, None
        self.sizes = []

    def handle(self, kind, call):
        name = {"site": f"party-{self.index}"}
        if kind == "frames" and self.spoil is not None:
            return self.spoil(call)
        if kind == "frames":
            self.sizes.append(sum(blob.nbytes for blob in call.arrays.values()))
            return Call(header=name, arrays=packed(*self._replies(call)).arrays)
        fresh = kind == "join" and self.party is None
        if fresh:
            root = Root.simulation(SEED, "party", self.index)
            self.party = Party(self.index, root, self.identity, self.memory, lambda words: words)
        if kind == "close":
            self.party = None
        return Call(header=name | {"identity": self.identity.public, "fresh": fresh})

    def _replies(self, call):
        return [self.party.answer(call.arrays[str(number)].data) for number in range(len(call.arrays))]


def desks_of(identities=ROLE_IDS):
    return [Desk(index, identities[index]) for index in range(PARTIES)]


@pytest.fixture
def desks():
    return desks_of()


@pytest.fixture
def post(desks):
    return InProcessPost({role: desk.handle for role, desk in zip(ROLES, desks, strict=False)})


def joined(post, **changes):
    remote = RemoteParties(post, STUDY, SUMS, RUN, **changes)
    remote.ready()
    return remote, remote.pin(**PINNING)


def test_parties_name_themselves_and_vouch_for_their_keys(post):
    remote, keys = joined(post)
    assert remote.ready() == STUDY.parties
    for index, key in enumerate(keys):
        key.check(STUDY.parties[index], STUDY.digest, RUN, PINNING["terms"], index)


def test_the_noisy_sum_is_what_local_parties_open(post):
    query = a_query(0, mechanism=NOISE)
    assert (asked(*joined(post), query, vectors(query)) == sum(vectors(query).values()) + noise_of(query)).all()


def test_begin_and_deliver_send_nothing_and_a_reveal_one_message_each(post):
    remote, keys = joined(post)
    post.sent.clear()
    deliver(remote, keys, a_query(0), vectors(a_query(0)))
    assert post.sent == []
    remote.reveal(SITES)
    assert sorted(post.sent) == [("frames", role) for role in ROLES[:PARTIES]]


def test_parts_over_the_bound_leave_earlier_and_the_sum_is_the_same(post, desks):
    remote, keys = joined(post, most_waiting=10_000)
    query = a_query(0, length=3000)
    assert (asked(remote, keys, query, vectors(query)) == sum(vectors(query).values())).all()
    largest = max(max(desk.sizes) for desk in desks)
    assert 10_000 < largest < 2 * 3000 * query.width // 8
    assert sum(len(desk.sizes) for desk in desks) > 2 * PARTIES


def test_a_silent_party_is_named_and_the_next_attempt_works(post):
    remote, keys = joined(post)
    deliver(remote, keys, a_query(0), vectors(a_query(0)))
    post.lost = {"party-1"}
    with pytest.raises(RoleError, match=r"^party 1 gave no answer to FRAMES$"):
        remote.reveal(SITES)
    post.lost = set()
    remote.abort()
    remote.ready()
    fresh = remote.pin(**PINNING)
    assert {key.public for key in fresh}.isdisjoint(key.public for key in keys)
    again = a_query(1)
    assert (asked(remote, fresh, again, vectors(again)) == sum(vectors(again).values())).all()


def test_an_attempt_that_was_opened_is_not_opened_again_by_fresh_parties(post):
    remote, keys = joined(post)
    query = a_query(0)
    asked(remote, keys, query, vectors(query))
    remote.close()
    with pytest.raises(Refused, match=r"^opened-before: party 0, BEGIN: a \(run, method, step, attempt\) opens once"):
        asked(remote, remote.pin(**PINNING), query, vectors(query, SITES[:2]))


def test_a_refused_part_is_told_as_local_parties_tell_it_and_the_next_query_works(post):
    remote, keys = joined(post)
    query = a_query(0)
    parts, stamp = sealed(query, keys, "graz", vectors(query)["graz"])
    remote.begin(query)
    remote.deliver("berlin", parts, stamp)
    with pytest.raises(Refused, match=r"^bad-stamp: party 0, PART berlin: the site did not sign this part for this"):
        remote.reveal(["berlin"])
    remote.abort()
    later = a_query(1)
    assert (asked(remote, keys, later, vectors(later)) == sum(vectors(later).values())).all()


def test_a_set_below_the_quorum_is_refused(post):
    remote, keys = joined(post)
    with pytest.raises(Refused, match=r"^below-quorum: party 0, REVEAL: at least 2 sites$"):
        asked(remote, keys, a_query(0), vectors(a_query(0), SITES[:1]))


def test_nothing_is_delivered_or_opened_without_a_query(post):
    remote, _ = joined(post)
    with pytest.raises(Refused, match=r"^no-query"):
        remote.deliver("berlin", [b"", b"", b""], b"")
    with pytest.raises(Refused, match=r"^no-query"):
        remote.reveal(SITES)


def as_words(call):
    """Answer as one of another query would."""
    told = {"query": "0" * 64, "set": "0" * 64}
    ok = Frame(kind=Kind.OK, header={})
    return packed(*[ok] * (len(call.arrays) - 1), Frame(kind=Kind.WORDS, header=told, body=bytes(200)))


BAD = {
    "another query's words": (as_words, "answered something else than was asked"),
    "nothing": (lambda call: Call(header={}), r"sent no valid frames: 0 replies to 6 frames"),
    "other names": (lambda call: Call(header={}, arrays=dict.fromkeys("abcdef", np.zeros(30, np.uint8))), "number"),
    "no bytes": (lambda call: Call(header={}, arrays={name: np.zeros(30) for name in call.arrays}), "no bytes"),
    "garbage": (lambda call: Call(header={}, arrays={n: np.zeros(30, np.uint8) for n in call.arrays}), "magic/version"),
    "a failure": (lambda call: refusal("role-failed", "party 2 ended (signal 9)"), r"role-failed\): party 2 ended"),
}


@pytest.mark.parametrize("answer", BAD)
def test_a_party_whose_answer_is_none_is_named(post, desks, answer):
    remote, keys = joined(post)
    desks[2].spoil, text = BAD[answer]
    with pytest.raises(RoleError, match=rf"^party 2 .*{text}"):
        asked(remote, keys, a_query(0), vectors(a_query(0)))


def test_leaving_closes_the_run_everywhere_once(post, desks):
    with joined(post)[0] as remote:
        assert all(desk.party for desk in desks)
    remote.close()
    assert not any(desk.party for desk in desks)
    assert [kind for kind, _ in post.sent].count("close") == PARTIES


def test_a_role_that_declines_to_join_is_named(post, desks):
    post.handles["party-1"] = lambda kind, call: refusal("not-signed", "no")
    with pytest.raises(Refused, match=r"^not-signed: party 1, JOIN: no$"):
        RemoteParties(post, STUDY, SUMS, RUN).pin(**PINNING)


def opens(kind, calls):
    return kind == "frames" and any(len(call.arrays) > 2 for call in calls.values())


class Deaf(InProcessPost):
    """Carries what party 1 is asked to open something with, and loses its first reply."""

    heard = False

    def ask(self, kind, calls):
        lost = opens(kind, calls) and not self.heard
        self.heard = self.heard or lost
        return ((role, answer) for role, answer in super().ask(kind, calls) if not (lost and role == "party-1"))


@pytest.fixture
def deaf(desks):
    post = Deaf({role: desk.handle for role, desk in zip(ROLES, desks, strict=False)})
    remote, keys = joined(post)
    post.sent.clear()
    return post, remote, keys


def test_a_lost_reply_is_given_again_as_it_was_kept_and_spends_no_attempt(deaf):
    post, remote, keys = deaf
    query = a_query(0, mechanism=NOISE)
    assert (asked(remote, keys, query, vectors(query)) == sum(vectors(query).values()) + noise_of(query)).all()
    assert sorted(post.sent) == sorted([*(("frames", f"party-{i}") for i in (0, 1, 1, 2)), ("hello", "party-1")])


def test_a_party_that_kept_nothing_of_what_it_opened_gives_no_second_answer(deaf, desks):
    _, remote, keys = deaf
    desks[1].memory.body = lambda _: None
    with pytest.raises(Refused, match=r"^opened-before: party 1"):
        asked(remote, keys, a_query(0), vectors(a_query(0)))


class Losing(InProcessPost):
    """Loses everything for party 1 from when it is first asked to open something, until its run is closed."""

    spent = False

    def ask(self, kind, calls):
        if opens(kind, calls) and not self.spent:
            self.lost, self.spent = {"party-1"}, True
        if kind == "close":
            self.lost = set()
        return super().ask(kind, calls)


def test_a_coordinator_goes_on_with_the_next_attempt(agent, make_job):
    study = make_study("none")
    post = Losing({role: desk.handle for role, desk in zip(ROLES, desks_of(PARTY_IDS), strict=False)})
    remote = RemoteParties(post, study, make_plan(study), "run-1")
    agents = [agent(study, name) for name in ("north", "south")]
    client = site_app.make(lambda context: agents[int(context.node_config["partition-id"])].handle)
    coordinator = Coordinator(make_job(study, remote))
    coordinator.conduct(LocalGrid(client, len(agents)))
    assert post.spent and coordinator.answered == {"marginals": 1}
    assert [kind for kind, role in post.sent if role == "party-0"].count("close") == 1
