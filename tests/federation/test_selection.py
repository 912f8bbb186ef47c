"""A method that selects, end to end: agents, coordinator, three parties and a dealer."""

import numpy as np
import pytest

from fedgenome.methods import registry
from fedgenome.query import PARTIES
from fedgenome.secure.parties import Parties
from tests.federation.picking import SCORES, Picking, answers
from tests.federation.small import make_shard, make_study
from tests.federation.test_coordinator import both, conduct

WINNERS, NOISE = 2, 4.0
SEED = 20261121
COST = 9 * NOISE  # ε of a winner is 9


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    """The registry with a method that selects, whose options the tests set."""

    def build(spec, schema, donors_bound, private):
        return Picking(winners=WINNERS, cost=COST, private=private, clip=spec.noise)

    monkeypatch.setattr(registry, "KINDS", {**registry.KINDS, "picking": build})


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    """Three parties and a dealer, and their keys. One study and run can be conducted over them."""
    folder = tmp_path_factory.mktemp("four")
    with Parties.start(folder, SEED) as started:
        yield started, started.keep(folder / "kept", dealer=True)


def a_study(keys=(), trust="distributed", **changes):
    private = {"epsilon": 36.0, "delta": 1e-3} if trust == "distributed" else {}
    named = {"parties": list(keys[:PARTIES]), "dealer": keys[PARTIES]} if len(keys) > PARTIES else {}
    return make_study(trust, "picking", privacy={"trust": trust, **private}, **named, **changes)


def truth():
    """Return the questions in order of their true counts, ties by index."""
    counts = sum(answers(make_shard(20, first=first).x).sum(axis=0) for first in (0, 100))
    return sorted(range(SCORES), key=lambda index: (-counts[index], index))


def test_plain_selection_is_the_argmax_of_the_sums_and_ties_go_to_the_lowest_index(agent, make_job):
    study = a_study(trust="none", secure="off")
    found = conduct(make_job(study), both(agent, study)).releases["picking"]["found"]
    assert (found == truth()[:WINNERS]).all() and found.dtype == np.int64
    assert {0, 3} & set(truth()[:WINNERS])  # asked twice: a tie


def test_selection_through_every_role_finds_the_true_winners_in_order(agent, make_job, four):
    # ε = 9 for each of 2·2 winners: noise decides with a chance of 2 % at most; the seed is one at which it does not.
    parties, keys = four
    study = a_study(keys)
    agents = both(agent, study, seed=SEED)
    coordinator = conduct(make_job(study, parties, seed=SEED), agents)
    found = coordinator.releases["picking"]["found"]
    assert found.tolist() == [truth()[:WINNERS]] * 2 and found.dtype == np.int64
    assert [one._ledger.spent() for one in agents] == [(0, 0)] * 2  # a simulation claims nothing
