"""``fedgenome ledger``: what a ledger holds, in text and JSON, and the first fault in one line."""

import json

import pytest
from typer.testing import CliRunner

from fedgenome.cli.main import app
from fedgenome.privacy.ledger import Budget, Ledger
from fedgenome.query import Mechanism
from fedgenome.secure.identity import Identity
from fedgenome.study import Plan

COUNTS = Mechanism(kind="gaussian", level=4.0, scope="tables")
STEPS = Mechanism(kind="gaussian", level=2.0, sampling=0.1, scope="cvae", count=5)
PLAN = Plan(mechanisms=(COUNTS, STEPS))
SITE = Identity.generate()


@pytest.fixture
def path(tmp_path):
    """A ledger with a closed run, a spent one, a simulation, and one that is only reserved."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path, "account-1", Budget(epsilon=10.0, delta=1e-3), signer=SITE) as ledger:
        for run, kind in (("run-a", "private"), ("run-b", "private"), ("run-c", "simulation"), ("run-d", "private")):
            ledger.reserve(run, "5" * 64, PLAN, 2.0, 1e-4, kind=kind)
        ledger.charge("run-a", COUNTS)
        ledger.settle("run-a")
        for _ in range(3):
            ledger.charge("run-b", STEPS)
    return path


def call(*arguments):
    return CliRunner().invoke(app, ["ledger", *map(str, arguments)])


def test_show_tells_every_plan_what_was_charged_and_what_is_left(path):
    told = json.loads(call("show", path, "--json").stdout)
    assert (told["reserved"], told["spent"]) == ([6.0, pytest.approx(3e-4)], [4.0, pytest.approx(2e-4)])
    assert (told["budget"], told["left"]) == ([10.0, 1e-3], [4.0, pytest.approx(7e-4)])
    assert [entry["status"] for entry in told["entries"]] == ["closed", "spent", "reserved", "reserved"]
    assert [form["charged"] for form in told["entries"][1]["forms"]] == [0, 3]


def test_show_prices_each_scope_and_the_whole_as_accounting_does(path):
    from fedgenome.privacy import accounting

    entry = json.loads(call("show", path, "--json").stdout)["entries"][0]
    delta = accounting.usable(PLAN, 2.0, 1e-4)
    assert entry["priced"] == accounting.epsilon(PLAN, delta) <= entry["epsilon"] == 2.0
    assert entry["scopes"] == accounting.by_scope(PLAN, delta)


def test_show_in_text_names_runs_claims_forms_and_the_budget(path):
    shown = call("show", path)
    assert shown.exit_code == 0
    for line in (
        "run run-a: private, closed, spent, ε = 2, δ = 0.0001",
        "run run-c: simulation, reserved, no ε is claimed",
        "cvae: gaussian, noise multiplier 2, sampling 0.1, noise at parties: 3 of 5 charged",
        "budget ε = 10, δ = 0.001; left ε = 4, δ = 0.0007",
        f"signed by {SITE.public}",
    ):
        assert line in shown.output


def test_verify_of_a_sound_ledger_ends_with_0_and_says_what_was_checked(path):
    done = call("verify", path, "--signer", SITE.public)
    assert done.exit_code == 0 and "10 records, every rule kept" in done.output


def test_torn_last_line_is_told_and_left_as_it_was(path):
    path.write_bytes(path.read_bytes()[:-30])
    before = path.read_bytes()
    for command in ("show", "verify"):
        assert "the last line is torn: " in call(command, path).output
    assert path.read_bytes() == before and json.loads(call("verify", path, "--json").stdout)["torn"] > 0


def test_changed_line_is_one_line_of_error_and_code_2(path):
    path.write_bytes(path.read_bytes().replace(b'"epsilon":2.0', b'"epsilon":1.0', 1))
    for command in ("show", "verify"):
        done = call(command, path)
        assert done.exit_code == 2 and "line 2: expected the next record of the chain" in done.output
        assert len(done.output.strip().splitlines()) == 1
    assert json.loads(call("verify", path, "--json").stdout)["exit"] == 2


def test_lines_cut_off_are_noticed_by_a_head_kept_elsewhere(path):
    head = json.loads(call("verify", path, "--json").stdout)["head"]
    assert call("verify", path, "--head", head).exit_code == 0
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert call("verify", path).exit_code == 0
    assert "lines were cut off" in call("verify", path, "--head", head).output


def test_another_signer_than_expected_is_refused(path):
    done = call("verify", path, "--signer", Identity.generate().public)
    assert done.exit_code == 2 and "expected every reservation and close signed by" in done.output


@pytest.mark.parametrize(
    ("content", "rule"), [(None, "expected a ledger, No such file"), ("GATTACA\n", "one whole record")]
)
def test_file_that_is_no_ledger_is_bad_input(tmp_path, content, rule):
    if content is not None:
        (tmp_path / "x").write_text(content)
    done = call("verify", tmp_path / "x")
    assert done.exit_code == 2 and rule in done.output and len(done.output.strip().splitlines()) == 1
