"""A method that selects, end to end: agents, coordinator, three parties and a dealer."""

import numpy as np
import pytest

from fedgenome.methods import registry
from fedgenome.privacy.clipping import sum_scores
from fedgenome.query import PARTIES, Mechanism
from fedgenome.secure.identity import Identity
from fedgenome.secure.parties import Parties
from fedgenome.selection import Selection
from tests.federation.picking import SCORES, Picking, answers
from tests.federation.small import PARTY_IDS, make_shard, make_study
from tests.federation.test_coordinator import both, conduct
from tests.federation.test_site import ask, join, opened, query_of

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


def a_study(keys=(), trust="distributed", epsilon=36.0, **changes):
    private = {"epsilon": epsilon, "delta": 1e-3} if trust == "distributed" else {}
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


def test_tree_through_every_role_joins_the_pairs_that_agree_most_under_the_model_it_released(
    agent, make_job, tmp_path_factory
):
    # ε = 12 for each of two pairs: noise moves a score by one with a chance of 1e-4 in all.
    folder, options = tmp_path_factory.mktemp("tree"), {"choice": 24 * NOISE, "pairs": 2}
    with Parties.start(folder, SEED) as started:
        keys = started.keep(folder / "kept", dealer=True)
        study = a_study(keys, methods=[{"kind": "tree", "options": options}], epsilon=30.0)
        released = conduct(make_job(study, started, seed=SEED), both(agent, study, seed=SEED)).releases["tree"]
    assert released["pairs"].tolist() == forest(released)
    assert (np.abs(released["ties"]) <= 1).all() and released["ties"].dtype == np.float32


def forest(released):
    """Naive oracle: the two pairs of three genes that agree, or disagree, most often among both sites' donors."""
    shards = [make_shard(20, first=first) for first in (0, 100)]
    x, label = (np.concatenate([getattr(one, name) for one in shards]) for name in ("x", "label"))
    above = (x - released["centre"]) / released["scale"] > released["means"][label]
    agreed = {(i, j): int((above[:, i] == above[:, j]).sum()) for i, j in ((0, 1), (0, 2), (1, 2))}
    return [list(pair) for pair in sorted(agreed, key=lambda pair: -max(agreed[pair], len(x) - agreed[pair]))[:2]]


# ── what a site agrees to ────────────────────────────────────────────────────────────────────────

DEALER = Identity.generate().public
NAMED = [*(one.public for one in PARTY_IDS), DEALER]


def joined(agent, study, **changes):
    site = agent(study, **changes)
    assert join(site, study).refusal is None
    return site


def test_site_charges_a_selection_before_its_scores_leave(agent):
    study = a_study(NAMED)
    site = joined(agent, study)
    query = query_of(study)
    assert (opened(query, ask(site, query)) == answers(make_shard(20).x).sum(axis=0)).all()
    assert site._ledger.spent() == (36.0, 1e-3)
    assert query.selection == Selection(
        scores=SCORES, winners=WINNERS, epsilon=9.0, sensitivity=1, units=80, monotone=True
    )


def asks_for(winners=WINNERS, level=9.0, **changes):
    """Return what to change in the question for another number of winners, at this ε each."""
    mechanism = Mechanism(kind="exponential", level=level, winners=winners, scope="picking")
    return {"reply_length": winners, "mechanism": mechanism} | changes


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (asks_for(3), "outside-plan"),
        (asks_for(level=8.0), "outside-plan"),
        ({"mechanism": None}, "outside-plan"),
        ({"scale": 2.0}, "wrong-scale"),
        (asks_for(unit="site"), "unsupported"),
        (asks_for(bound=2.0), "bound"),
        (asks_for(length=SCORES + 1), "bound"),
    ],
    ids=["more winners", "another level", "no noise", "scale", "unit", "bound", "length"],
)
def test_selection_the_site_did_not_agree_to_is_refused(agent, change, code):
    study = a_study(NAMED)
    assert ask(joined(agent, study), query_of(study, **change)).refusal[0] == code


def test_selection_without_a_dealer_in_the_study_is_refused(agent):
    study = a_study()
    assert ask(joined(agent, study), query_of(study)).refusal == (
        "unsupported",
        "a selection needs the dealer of the roster",
    )


def test_selection_more_than_the_plan_holds_is_refused(agent):
    study = a_study(NAMED)
    site = joined(agent, study)
    assert [ask(site, query_of(study, step=step)).refusal for step in (0, 1)] == [None, None]
    assert ask(site, query_of(study, step=2)).refusal[0] == "outside-plan"


def test_study_s_epsilon_below_k_times_its_winners_is_refused(agent):
    study = a_study(NAMED, epsilon=35.9)
    assert join(agent(study), study).refusal[0] == "over-epsilon"


def test_clipping_that_allows_negative_scores_does_not_answer_a_monotone_question(agent, monkeypatch):
    def signed(self, question, sample, rng):
        return sum_scores(answers(sample.x), sample.donor, sample.mask, 1.0)

    monkeypatch.setattr(Picking, "answer", signed)
    study = a_study(NAMED)
    assert ask(joined(agent, study), query_of(study)).refusal[0] == "bound"
