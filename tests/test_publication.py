"""What is written of a judged run: nothing is released before all else is written, and a seeded run claims no ε."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedgenome import experiment, folders, prepare
from fedgenome.audit import gate
from fedgenome.audit.targets import people
from fedgenome.card import SIMULATED_ROLES
from fedgenome.federate import Trained
from fedgenome.publication import Done, Findings, Rows, publish
from fedgenome.streams import Root
from fedgenome.synthesis import synthesize

QUICKSTART = Path(__file__).parents[1] / "experiments" / "quickstart.toml"
PASSED, FAILED = (gate.judge(None, gate.Policy(require_controls=needed)) for needed in (False, True))


@pytest.fixture(scope="module")
def prepared():
    """Return the quickstart with its one-query method alone: as good as trained after an empty sum."""
    spec = experiment.load(QUICKSTART)
    return prepare.prepare(spec.model_copy(update={"methods": spec.methods[:1]}), np.random.default_rng(1))


@pytest.fixture
def done(prepared, tmp_path):
    method = prepared.methods["marginals"]
    state = method.start(np.random.default_rng(1))
    question = method.ask(state)
    arrays = {"marginals": method.release(method.learn(state, question, np.zeros(question.reply_length)))}
    return Done(
        prepared=prepared,
        generator="marginals",
        folder=folders.create(tmp_path, "quickstart", {}, "run", "00" * 32),
        trained=Trained(study=prepared.study, arrays=arrays, queries={"marginals": 1}, uploaded=0, engine="local"),
        seen={},
        members=people(prepared.split.members),
        controls=people(prepared.split.controls),
        root=Root.secret(),
        file=Path("quickstart.toml"),
        seconds={"prepare": 1.0},
    )


def judged(done, verdict):
    made = synthesize(
        done.prepared.methods["marginals"], done.trained.arrays["marginals"], 200, np.random.default_rng(1)
    )
    return publish(
        done, {"marginals": Rows(drawn=made, released=made)}, Findings(audit=None, verdict=verdict, utility={})
    )


def test_a_release_takes_the_candidates_place(done):
    outcome = judged(done, PASSED)
    assert outcome.path == done.folder.release and outcome.exit_code == 0 and outcome.last_line.startswith("released: ")
    assert (done.folder.release / "card.json").exists() and not done.folder.candidate.exists()


def test_a_withheld_candidate_stays_inside(done):
    outcome = judged(done, FAILED)
    assert outcome.path == done.folder.candidate and outcome.exit_code == 3
    assert (done.folder.candidate / "card.json").exists() and not done.folder.release.exists()
    assert json.loads((done.folder.internal / "outcome.json").read_text())["verdict"] == "withheld"


@pytest.mark.parametrize("name", ["report.html", "audit.json", "utility.json"])
def test_nothing_is_released_if_something_else_cannot_be_written(done, name):
    (done.folder.internal / name).mkdir()
    with pytest.raises(IsADirectoryError):
        judged(done, PASSED)
    assert not done.folder.release.exists() and not (done.folder.internal / "outcome.json").exists()


@pytest.mark.parametrize("seeded", [False, True])
def test_a_ledger_prints_epsilon_only_where_nobody_can_recompute_the_noise(done, seeded):
    outcome = judged(replace(done, root=Root.of(1 if seeded else None, "driver")), PASSED)
    plan, *rest = map(json.loads, (outcome.path / "ledger.jsonl").read_text().splitlines())
    held, asked = rest
    assert {plan["kind"], held["kind"], asked["kind"]} == {"simulation" if seeded else "private"}
    assert (plan["epsilon"] is None, plan["delta"] is None) == (seeded, seeded) and asked["queries"] == 1


def test_a_deployments_release_by_a_coordinator_that_holds_nobody_says_both(done, prepared):
    sites = tuple(site.name for site in prepared.study.roster)
    nobody = prepare.without_cohort(prepared.experiment, prepared.study.schema_, sites)
    empty = people(nobody.split.members)
    trained = replace(done.trained, engine="deployment")
    outcome = judged(replace(done, prepared=nobody, trained=trained, members=empty, controls=empty), PASSED)
    card = json.loads((outcome.path / "card.json").read_text())
    assert nobody.study == prepared.study and not card["risk"]["gate_reads_people"]
    assert card["record"]["engine"] == "deployment" and card["record"]["command"].endswith("--on deployment.toml")
    assert SIMULATED_ROLES not in card["alerts"] and card["guarantee"]["epsilon"] is not None
