"""A site whose Study has rows sanitized: charged once, perturbed once, and nothing asked of the rows themselves."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedgenome import card
from fedgenome.federation.sanitized import sanitized
from fedgenome.ledgers import read, text
from fedgenome.privacy.ledger import Ledger
from fedgenome.sanitize import statement
from fedgenome.sanitize.guarantee import Guarantee
from fedgenome.streams import Root
from fedgenome.study import Plan
from tests.conformance.cases import absent, masked
from tests.federation.small import make_shard, make_study
from tests.federation.test_site import join

LAPLACE = {"kind": "laplace", "keep": 2, "epsilon": 4.0, "labels_epsilon": 2.0}
ROOT = Root(bytes(range(32)), seeded=False)


def small(**changes):
    return make_study(sanitize=LAPLACE | changes)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.jsonl", "account") as opened:
        yield opened


def test_rows_come_out_the_same_again_and_are_charged_once(ledger):
    study, shard = small(), make_shard(20)
    one, again = (sanitized(study, shard, ROOT, ledger) for _ in range(2))
    assert (one.x == again.x).all()
    assert (one.label == again.label).all()
    other_run = make_study(sanitize=LAPLACE, quorum=1)
    assert (sanitized(other_run, shard, ROOT, ledger).x == one.x).all()
    assert len(read(ledger.path).sanitized) == 1
    assert (one.x != shard.x).any()


def test_changed_rows_and_other_sanitizers_get_draws_of_their_own_and_compose(ledger):
    shard, study = make_shard(20), small()
    x = shard.x.copy()
    x[0] += 0.5
    first = sanitized(study, shard, ROOT, ledger).x
    changed = sanitized(study, replace(shard, x=x), ROOT, ledger).x
    assert (changed[1:] == first[1:]).all()
    moved = sanitized(small(epsilon=None), replace(shard, x=x), ROOT, ledger).x[0]
    kept = sanitized(small(epsilon=None), shard, ROOT, ledger).x[0]
    assert not np.allclose(changed[0] - first[0], moved - kept, atol=1e-3)  # else the difference of noised rows tells
    told = text(read(ledger.path))
    assert "answers for ε = 8 a unit of distance, 8 for its label" in told
    assert read(ledger.path).reserved == (0.0, 0.0)


@pytest.mark.parametrize("neighbour", [masked, absent])
def test_removing_a_donor_leaves_the_others_rows_alone(ledger, neighbour):
    shard, study = make_shard(12), small()
    whole, less = sanitized(study, shard, ROOT, ledger), sanitized(study, neighbour(shard, 3), ROOT, ledger)
    rows = {less.donors[d]: row for d, row, live in zip(less.donor, less.x, less.mask, strict=True) if live}
    assert len(rows) == 11
    assert all((rows[name] == whole.x[i]).all() for i, name in enumerate(shard.donors) if name in rows)


def test_site_charges_before_it_joins_and_answers_from_sanitized_rows(agent, tmp_path):
    study = small()
    assert join(agent(study), study).refusal is None
    (path,) = tmp_path.glob("*.jsonl")
    events = [json.loads(line)["event"] for line in path.read_bytes().splitlines()]
    assert events == ["open", "reserve", "sanitize"]


def facts(study, *, seeded=False):
    private = {"epsilon": 5.0, "epsilon_two": 6.0}
    plan = Plan.model_validate({"mechanisms": [{"kind": "gaussian", "level": 9.0, "scope": "marginals"}]})
    return card.Facts(
        study=study, plan=plan, queries={}, engine="local", seeded=seeded, gate_reads_people=False, **private
    )


def test_card_keeps_the_two_guarantees_apart():
    made = card.build_card(facts(small()))
    assert (made["guarantee"]["epsilon"], made["sanitized"]["epsilon"]) == (5.0, 4.0)
    assert made["sanitized"]["epsilon_times_diameter"] == Guarantee.of(small().sanitize, small().schema_).local
    assert "sanitiz" not in made["guarantee"]["statement"]
    assert "not whether a donor took part" in made["sanitized"]["unit"]
    assert statement.APART in made["alerts"]


def test_seeded_card_prints_no_epsilon_of_sanitized_rows():
    made = card.build_card(facts(small(), seeded=True))
    assert made["sanitized"]["epsilon"] is made["sanitized"]["labels_epsilon"] is None
    assert made["study"]["spec"]["sanitize"] == {"kind": "laplace", "keep": 2, "basis": "dct"}


def test_operator_hears_of_scale_composition_and_exact_labels():
    study = make_study(
        sanitize=LAPLACE | {"labels_epsilon": None},
        schema={"genes": ["A", "B", "C"], "labels": ["x", "y"], "high": 4.0, "unit": "donor", "rows_per_donor": 5},
    )
    told = "\n".join(statement.for_operator(study, make_shard(20).x))
    assert "× diameter 1.732 = 6.9" in told
    assert "× median distance" in told
    assert "up to 5 rows of a donor answer for as many times" in told
    assert statement.EXACT_LABELS in told
    assert statement.for_operator(make_study(), make_shard(20).x) == []
