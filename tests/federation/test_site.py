"""A site answers what its pinned study and plan allow, once, and refuses the rest with a code."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from fedgenome import trust
from fedgenome.errors import SpecError
from fedgenome.federation.site import pinned
from fedgenome.federation.wire import Call
from fedgenome.methods import registry
from fedgenome.privacy.ledger import Budget
from fedgenome.query import Mechanism, Query, Question, choose_scale
from fedgenome.secure import bundle, ring
from fedgenome.secure.envelope import PartyKey
from fedgenome.secure.runkeys import RunKey
from fedgenome.streams import Root
from tests.federation.small import CAP, PARTY_IDS, make_plan, make_study

KEYS = [PartyKey.generate() for _ in range(3)]


def run_keys(study, plan, run="run-1", identities=PARTY_IDS):
    named = enumerate(zip(KEYS, identities, strict=True))
    return [
        RunKey.make(key.public, one, study.digest, run, study.terms(plan), party).to_json()
        for party, (key, one) in named
    ]


def join(agent, study, plan=None, run="run-1", keys=None):
    header = {
        "study": study.model_dump(mode="json", by_alias=True),
        "plan": (plan or make_plan(study)).model_dump(mode="json"),
        "run": run,
        "keys": run_keys(study, plan or make_plan(study), run) if keys is None else keys,
    }
    return agent.handle("join", Call(header=header))


def query_of(agreed, step=0, attempt=0, noise=4.0, **changes):
    method = next(iter(registry.build_all(agreed).values())).at(noise)
    question = trust.asked(method.ask(method.start(np.random.default_rng(0))), agreed.privacy.trust)
    question = replace(question, **{k: changes.pop(k) for k in list(changes) if k in Question.__dataclass_fields__})
    terms = agreed.terms(make_plan(agreed, noise))
    given = {"study": agreed.digest, "run": "run-1", "method": method.name, "scale": choose_scale(question, terms)}
    return Query(question=question, step=step, attempt=attempt, terms=terms, **(given | changes))


def ask(agent, query):
    return agent.handle("ask", Call(header={"query": query.header()}, arrays=query.question.payload))


def opened(query, answer):
    total = np.zeros(query.question.length, ring.dtype_of(query.width))
    for party, key in enumerate(KEYS):
        bundle.add_part(query, "north", 0, party, key, answer.arrays[f"part{party}"].tobytes(), total)
    return ring.decode(total, query.scale, query.width)


def test_the_opened_bundle_is_the_sum_over_the_shard(agent):
    study = make_study()
    site = agent(study)
    assert join(site, study).refusal is None
    query = query_of(study)
    total = opened(query, ask(site, query))
    assert total[:2] == pytest.approx([10, 10], abs=1 / query.scale)  # ten rows of each class


def test_a_repeated_question_gets_the_same_bytes_and_is_charged_once(agent):
    study = make_study()
    site = agent(study)
    join(site, study)
    first, again = (ask(site, query_of(study)) for _ in range(2))
    assert all((first.arrays[part] == again.arrays[part]).all() for part in first.arrays)


def test_a_question_asked_twice_at_once_is_answered_and_charged_once(agent):
    study = make_study(trust="none")
    site = agent(study)
    join(site, study)
    answer = site._contribution

    def slowly(query, run):
        time.sleep(0.2)  # the other call is there meanwhile
        return answer(query, run)

    site._contribution = slowly
    before = site._ledger._lines
    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(lambda _: ask(site, query_of(study)), range(2))
    assert all((first.arrays[part] == second.arrays[part]).all() for part in first.arrays)
    assert site._ledger._lines == before + 1


def test_a_changed_question_at_the_same_attempt_is_refused(agent):
    study = make_study()
    site = agent(study)
    join(site, study)
    ask(site, query_of(study))
    changed = query_of(study, payload={"edges": np.zeros(3)})
    assert ask(site, changed).refusal[0] == "asked-before"


def test_more_queries_than_the_plan_holds_are_refused(agent):
    study = make_study()
    site = agent(study)
    join(site, study)
    assert ask(site, query_of(study)).refusal is None
    assert ask(site, query_of(study, attempt=1)).refusal[0] == "outside-plan"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"study": "0" * 64}, "other-study"),
        ({"run": "run-2"}, "other-study"),
        ({"method": "cvae"}, "unknown-method"),
        ({"scale": 2.0**40}, "wrong-scale"),
        ({"mechanism": None}, "outside-plan"),
        ({"mechanism": Mechanism(kind="gaussian", level=3.9, scope="marginals")}, "outside-plan"),
        ({"mechanism": Mechanism(kind="gaussian", level=4.0, scope="other")}, "outside-plan"),
        ({"mechanism": Mechanism(kind="gaussian", level=4.0, scope="marginals", where="home")}, "other-trust"),
        ({"mechanism": Mechanism(kind="gaussian", level=4.0, scope="marginals", count=2)}, "outside-plan"),
        ({"mechanism": Mechanism(kind="gaussian", level=4.0, scope="marginals", sampling=0.5)}, "outside-plan"),
        ({"unit": "site"}, "other-trust"),
    ],
)
def test_a_query_the_site_did_not_agree_to_is_refused(agent, change, code):
    study = make_study()
    site = agent(study)
    join(site, study)
    refusal = ask(site, query_of(study, **change)).refusal
    assert refusal is not None and refusal[0] == code


def test_terms_other_than_those_pinned_are_refused(agent):
    study = make_study()
    site = agent(study)
    join(site, study)
    query = query_of(study)
    other = replace(query, terms=replace(query.terms, colluders=0))
    assert ask(site, other).refusal[0] == "invalid"


def test_asking_before_joining_is_refused(agent):
    study = make_study()
    assert ask(agent(study), query_of(study)).refusal[0] == "not-joined"


def test_a_study_that_was_not_pinned_is_refused(agent):
    study = make_study()
    assert join(agent(study, admit=pinned("0" * 64)), study).refusal[0] == "other-study"


def test_a_site_above_its_cap_takes_no_part(agent):
    study = make_study()
    assert join(agent(study, donors=CAP + 1), study).refusal[0] == "over-cap"
    assert join(agent(study, donors=CAP), study).refusal is None


def test_a_plan_that_costs_more_than_the_study_says_is_refused(agent):
    study = make_study()
    assert join(agent(study), study, make_plan(study, noise=0.1)).refusal[0] == "over-epsilon"


def test_a_plan_over_the_sites_budget_is_refused(agent):
    study = make_study()
    assert join(agent(study, budget=Budget(epsilon=4.9, delta=0.1)), study).refusal[0] == "budget"


@pytest.mark.parametrize(("model", "seed"), [("distributed", 7), ("none", None)])
def test_simulations_and_trust_none_need_a_public_cohort(agent, model, seed):
    study = make_study(model)
    assert join(agent(study, seed=seed, public=False), study).refusal[0] == "not-public"
    assert join(agent(study, seed=seed, public=True), study).refusal is None


def test_a_closed_run_answers_nothing_new_and_repeats_what_it_said(agent):
    study = make_study(kind="cvae")
    site, first, second = agent(study), query_of(study), query_of(study, attempt=1)
    assert site.handle("close", Call(header={})).refusal[0] == "not-joined"
    join(site, study)
    answer = ask(site, first)
    assert site.handle("close", Call(header={})).refusal is None
    assert site.handle("close", Call(header={})).refusal is None
    assert ask(site, second).refusal[0] == "run-closed"
    assert (ask(site, first).arrays["part0"] == answer.arrays["part0"]).all()


def test_an_unknown_kind_and_malformed_calls_are_refused_with_codes(agent):
    study = make_study()
    site = agent(study)
    assert site.handle("steal", Call(header={})).refusal[0] == "unknown-kind"
    assert site.handle("join", Call(header={})).refusal[0] == "malformed"
    join(site, study)
    assert site.handle("ask", Call(header={"query": {"run": "x"}})).refusal[0] == "invalid"


def test_the_reply_to_a_fault_holds_no_data(agent, monkeypatch):
    def broken(*given):
        raise RuntimeError(f"row of {secret}")

    study = make_study()
    site = agent(study)
    join(site, study)
    secret = "AAACATACAACCAC-1"
    monkeypatch.setattr(ring, "encode", broken)
    answer = ask(site, query_of(study))
    assert answer.refusal[0] == "internal" and secret not in str(answer.header) and not answer.arrays


HOLDING = {
    "methods": [{"kind": "marginals"}, {"kind": "membership", "options": {"rows": 20}}],
    "holdout": {"share": 0.4},
}


def counts(site, study, run="run-1"):
    """What a site answers in the clear: donors trained on, and members and held donors of the audit."""
    join(site, study, run=run, keys=[])
    trained = ask(site, query_of(study, run=run)).arrays["sum"]
    methods = registry.build_all(study)
    start = methods["membership"].start(np.random.default_rng(0))
    question, terms = methods["membership"].ask(start), study.terms(make_plan(study))
    given = {"study": study.digest, "run": run, "method": "membership", "scale": choose_scale(question, terms)}
    query = Query(question=question, step=0, attempt=0, terms=terms, **given)
    told = ring.decode(ask(site, query).arrays["sum"], query.scale, query.width)[:-1].reshape(2, -1).sum(axis=1)
    scale = query_of(study, run=run).scale
    return ring.decode(trained, scale, query_of(study).width)[:2].sum(), *told


def test_held_donors_are_in_no_training_and_the_audit_alone_counts_them(agent):
    study = make_study(trust="none", secure="off", **HOLDING)
    trained, members, held = counts(agent(study, donors=40), study)
    assert trained == pytest.approx(members, abs=0.01)
    assert members + held == pytest.approx(40, abs=0.01)
    assert 5 < held < 27  # 40 coins of .4, two-sided at 1e-4


def test_who_is_held_outlasts_the_process_and_not_the_run(agent):
    study = make_study(trust="none", secure="off", **HOLDING)
    site, restarted = (agent(study, donors=40, root=Root.secret()) for _ in range(2))
    for one in (site, restarted):
        join(one, study, keys=[])
    held = [one._run.shard.held for one in (site, restarted)]
    assert held[0].any() and (held[0] == held[1]).all()
    join(restarted, study, run="run-2", keys=[])
    assert (restarted._run.shard.held != held[0]).any()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"holdout": {"share": 0.2}}, "holdout: expected none"),
        ({"methods": HOLDING["methods"]}, "methods.membership: expected a"),
        ({**HOLDING, "methods": HOLDING["methods"][::-1]}, "before it in the file"),
    ],
)
def test_a_holdout_and_an_audit_need_one_another_and_a_generator_first(changes, words):
    with pytest.raises(SpecError, match=words):
        registry.build_all(make_study(**changes))


def test_canaries_count_against_the_cap(agent):
    study = make_study(trust="none", secure="off", **HOLDING | {"holdout": {"share": 0.4, "canaries": CAP - 20}})
    assert join(agent(study, donors=20), study, keys=[]).refusal is None
    assert join(agent(study, donors=21), study, keys=[]).refusal[0] == "over-cap"
