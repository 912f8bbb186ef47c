"""What the fault cases in containers check afterwards is found broken where it is: no container here."""

import json

import numpy as np
import pytest
import safetensors.numpy

from fedgenome.privacy import accounting
from fedgenome.privacy.ledger import Ledger
from fedgenome.secure.once import Once
from fedgenome.secure.party import ANSWERS
from tests.deployment import kept
from tests.federation.small import make_plan, make_study

RUN, WHEN = "0" * 32, ("marginals", 0, 0)
PRIVACY = {"trust": "distributed", "epsilon": 5.0, "delta": 1e-3, "retries": 1.0}
PLAN = make_plan(make_study(privacy=PRIVACY), 8.0)


def key(*moment):
    return json.dumps([RUN, *moment])


@pytest.fixture
def volumes(tmp_path):
    """The volumes of a federation after a run of one query that nothing befell."""
    study = make_study(privacy=PRIVACY)
    for role in (*kept.SITES, *kept.PARTIES):
        home = tmp_path / f"state-{role}"
        home.mkdir()
        with Once(home / ANSWERS) as once:
            once.record(key(*WHEN), "query set" if role in kept.PARTIES else "query", [b"words"])
        if role in kept.SITES:
            with Ledger(home / "ledger.jsonl", role) as ledger:
                ledger.reserve(RUN, study.digest, PLAN, 5.0, 1e-3)
                ledger.charge(RUN, PLAN.mechanisms[0])
            line = {"run": RUN, "event": "ask", "outcome": "answered", "method": "marginals", "step": 0, "attempt": 0}
            (home / "journal.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "jobs" / RUN).mkdir(parents=True)
    (tmp_path / "jobs" / RUN / "result.json").write_text("{}")
    (tmp_path / "jobs" / RUN / "m.safetensors").write_bytes(safetensors.numpy.save({"a": np.zeros(1)}))
    for name, told in (("internal/run", {"run": RUN}), ("internal/outcome", {}), ("release/card", {})):
        path = tmp_path / "runs" / "faults" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told | {"guarantee": {"epsilon": accounting.priced(PLAN, 5.0, 1e-3)}}))
    return tmp_path


def charge_again(volumes):
    with Ledger(volumes / "state-site-1" / "ledger.jsonl", "site-1") as ledger:
        ledger.charge(RUN, PLAN.mechanisms[0])


def answer_unnoted(volumes):
    path = volumes / "state-site-2" / "journal.jsonl"
    path.write_text(path.read_text() + path.read_text().replace('"attempt": 0', '"attempt": 1'))


def open_another_set(volumes):
    with Once(volumes / "state-party-1" / ANSWERS) as once:
        once.record(key("marginals", 0, 1), "query another set", [b"words"])
    with Once(volumes / "state-party-2" / ANSWERS) as once:
        once.record(key("marginals", 0, 1), "query set", [b"words"])


def leave_a_candidate(volumes):
    (volumes / "runs" / "faults" / "internal" / "candidate").mkdir()


def change_the_card(volumes):
    path = volumes / "runs" / "faults" / "release" / "card.json"
    path.write_text(json.dumps({"guarantee": {"epsilon": 5.0}}))


def test_a_run_that_nothing_befell_keeps_everything(volumes):
    assert kept.broken(volumes, RUN) == []


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (charge_again, "site-1 paid once"),
        (answer_unnoted, "site-2 answered once"),
        (open_another_set, "no sample noised twice"),
        (leave_a_candidate, "nothing half written"),
        (change_the_card, "a release of the plan's epsilon"),
    ],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_what_should_not_be_is_found(volumes, spoil, found):
    spoil(volumes)
    assert kept.broken(volumes, RUN) == [found]


def test_a_charge_without_its_answer_is_allowed_to_who_was_killed(volumes):
    charge_again(volumes)
    assert kept.broken(volumes, RUN, lost=["site-1"]) == []
