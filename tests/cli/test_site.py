"""``fedgenome site``: approve in plain words, look, take back; one line and a code for what is wrong."""

import json

import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.deployment.hospital import approvals, site
from fedgenome.federation import agents
from fedgenome.federation.wire import Call
from tests.deployment_roles.hospitals import KEY, agreed, joining, settle_in, signed

STUDY = agreed()


@pytest.fixture
def place(tmp_path):
    """A hospital's folder with a signed study in it."""
    settle_in(tmp_path)
    signed(STUDY).save(tmp_path / "study.json")
    signed(agreed(quorum=1)).save(tmp_path / "weak.json")
    return tmp_path


def told(place, command, *more, answer=None):
    done = CliRunner().invoke(app, ["site", command, str(place / "site.toml"), *map(str, more)], input=answer)
    return done.exit_code, done.output


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("", 1)])
def test_study_is_shown_and_approved_only_by_a_yes(place, answer, code):
    found, text = told(place, "approve", place / "study.json", answer=answer)
    assert found == code and "add or remove one donor" in text
    assert len(approvals.listed(place / "state")) == (code == 0)


def test_what_the_policy_refuses_is_one_line_and_asks_nothing(place):
    code, text = told(place, "approve", place / "weak.json", "--yes")
    assert (code, text) == (4, "error: policy: policy.quorum: at least 2 sites, the study says 1\n")


def test_what_the_budget_has_left_is_shown_and_a_study_that_does_not_fit_is_refused_before_anybody_is_asked(place):
    first = told(place, "approve", place / "study.json", "--yes")[1]
    assert "budget     ε = 7, δ = 0.009 left after a run of it, of ε = 12, δ = 0.01" in first
    config = site.SiteConfig.load(place / "site.toml")
    with site.opened(config, lambda *_: None) as opened:
        for run in ("run-1", "run-2"):
            assert opened.agent.handle("join", joining(STUDY, run=run)).refusal is None
    held = told(place, "approve", place / "study.json", "--yes")[1]
    assert "budget     ε = 2, δ = 0.008 left after a run of it" in held  # its runs are reserved already
    signed(agreed(name="another")).save(place / "other.json")
    code, text = told(place, "approve", place / "other.json", "--yes")
    assert (code, text) == (5, "error: all plans together need epsilon 15, budget 12\n")
    assert [one.study.name for one in approvals.listed(place / "state")] == ["small"]


def test_status_tells_approvals_runs_and_budget_until_revoked(place):
    told(place, "approve", place / "study.json", "--yes")
    config = site.SiteConfig.load(place / "site.toml")
    with site.opened(config, lambda *_: None) as opened:
        assert opened.agent.handle("join", joining(STUDY)).refusal is None
    found = json.loads(told(place, "status", "--json")[1])
    assert (found["approved"], found["answers"]) == ([[STUDY.digest, "small"]], False)
    assert found["left"] == pytest.approx([7.0, 0.009])
    assert [run[:3] for run in found["runs"]] == [["run-1", STUDY.digest, "reserved"]]
    assert told(place, "revoke", STUDY.digest[:10]) == (0, f"revoked {STUDY.digest}\n")
    assert "waiting: no study is approved" in told(place, "status")[1]
    assert [line["event"] for line in json.loads(told(place, "status", "--json")[1])["last"]] == ["approve", "revoke"]
    assert "run-1" in told(place, "ledger")[1]


@pytest.mark.parametrize(("name", "code"), [("north", 0), ("south", 1)])
def test_health_is_that_this_site_answers_on_the_socket(place, name, code):
    with agents.listening([lambda kind, _: Call(header={"site": name})], place / "agent.sock", KEY):
        assert told(place, "health")[0] == code
    assert told(place, "health")[0] == 1


def test_health_of_a_wrong_configuration_is_one_not_two(place):
    (place / "site.toml").write_text("name = 3")
    code, text = told(place, "health")
    assert code == 1 and "site.toml" in text


def test_withdrawal_tells_what_stays_and_the_list_only_counts(place):
    code, text = told(place, "withdraw", "donor-7")
    assert code == 0 and "left out of every answer from the next question on" in text
    assert json.loads(told(place, "withdraw", "-", "--json", answer="donor-8\n")[1])["before"] is False
    assert told(place, "withdraw", "--list") == (0, "withdrawn: 2 by donor\n")
    assert json.loads(told(place, "withdraw", "--list", "--json")[1]) == {"withdrawn": 2, "unit": "donor"}


@pytest.mark.parametrize("donor", [["nobody"], []])
def test_withdrawal_of_nobody_is_one_line(place, donor):
    code, text = told(place, "withdraw", *donor)
    assert code == 2 and text.startswith("error: ") and text.count("\n") == 1
    assert told(place, "withdraw", "--list")[1] == "withdrawn: 0 by donor\n"


def test_doctor_tells_a_line_a_check_and_its_code_is_that_something_failed(place):
    code, text = told(place, "doctor", "--study", place / "study.json")
    assert code == 1 and "failed     node.key: no such file; make the folder anew" in text
    assert "not tested port: no --superlink and no --certificates" in text
    found = {one["check"]: one for one in json.loads(told(place, "doctor", "--json")[1])}
    assert found["data"] == {"check": "data", "state": "not tested", "found": "no --study", "remedy": ""}


def test_doctor_of_a_ready_site_is_zero(place):
    for path in (place / "state", place / "state" / "node.key", place / "state" / "socket.key"):
        path.exists() or path.touch()
        path.chmod(0o700 if path.is_dir() else 0o600)
    with agents.listening([lambda *_: Call(header={"site": "north"})], place / "agent.sock", KEY):
        code, text = told(place, "doctor", "--study", place / "study.json")
    assert code == 0 and "0 failed" in text


def test_doctor_refuses_what_is_no_address_in_one_line(place):
    (place / "ca.crt").touch()
    code, text = told(place, "doctor", "--superlink", "nowhere", "--certificates", place / "ca.crt")
    assert (code, text) == (2, "error: --superlink: expected host:port, got 'nowhere'\n")
