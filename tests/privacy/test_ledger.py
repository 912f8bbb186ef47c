"""The ledger: what it holds back, what it remembers, and what a crash or an edit leaves of it."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from fedgenome.errors import BudgetRefused, Refused, SpecError
from fedgenome.privacy import chain
from fedgenome.privacy import ledger as module
from fedgenome.privacy.ledger import Budget, Ledger, verify
from fedgenome.query import Mechanism
from fedgenome.study import Plan

STEP = Mechanism(kind="gaussian", level=2.0, sampling=0.1, scope="cvae")
COUNTS = Mechanism(kind="gaussian", level=4.0, scope="cvae")
PLAN = Plan(mechanisms=(Mechanism(kind="gaussian", level=2.0, sampling=0.1, scope="cvae", count=3), COUNTS))
TERMS = {"study": "5" * 64, "plan": PLAN, "epsilon": 3.0, "delta": 1e-5}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def opened(path, budget=None):
    return Ledger(path, "account-1", budget)


def used(path, charges=(COUNTS, STEP)):
    """Write a ledger with one run and these charges; return its bytes."""
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        for form in charges:
            ledger.charge("run-1", form)
    return path.read_bytes()


def records(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_plan_is_spent_whole_with_its_first_share(path):
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        assert (ledger.spent(), ledger.reserved()) == ((0.0, 0.0), (3.0, 1e-5))
        ledger.charge("run-1", STEP)
        assert ledger.spent() == (3.0, 1e-5)
        ledger.charge("run-1", STEP)
        assert ledger.spent() == (3.0, 1e-5)
    assert [r["spends"] for r in records(path) if r["event"] == "charge"] == [[3.0, 1e-5], None]


def test_charges_beyond_the_plan_are_refused_form_by_form(path):
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        for _ in range(3):
            ledger.charge("run-1", STEP)
        with pytest.raises(Refused, match="outside-plan: the plan allows 3 queries of this form") as refusal:
            ledger.charge("run-1", STEP)
        ledger.charge("run-1", COUNTS)
    assert refusal.value.code == "outside-plan"


@pytest.mark.parametrize(
    "change", [{"level": 1.9}, {"sampling": 0.2}, {"scope": "other"}, {"where": "home"}, {"kind": "exponential"}]
)
def test_form_that_the_plan_does_not_hold_is_refused(path, change):
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        other = {"kind": "gaussian", "level": 2.0, "sampling": 0.1, "scope": "cvae"} | change
        with pytest.raises(Refused, match="outside-plan: the plan allows 0"):
            ledger.charge("run-1", Mechanism(**other))
        with pytest.raises(Refused, match="outside-plan: the plan allows 0"):
            ledger.charge("run-1", None)
    assert len(records(path)) == 2


def test_count_of_the_form_charged_plays_no_part(path):
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        ledger.charge("run-1", PLAN.mechanisms[0])
        assert records(path)[-1]["form"]["count"] == 1


def test_run_without_a_plan_is_refused(path):
    with opened(path) as ledger, pytest.raises(Refused, match="outside-plan: no plan is reserved for this run"):
        ledger.charge("run-1", STEP)


def test_resumed_run_continues_its_plan_after_reopening(path):
    used(path, [STEP, STEP])
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        ledger.charge("run-1", STEP)
        with pytest.raises(Refused, match="outside-plan"):
            ledger.charge("run-1", STEP)
        assert ledger.spent() == (3.0, 1e-5)
    assert [r["event"] for r in records(path)].count("reserve") == 1


@pytest.mark.parametrize(
    "change",
    [
        {"plan": Plan(mechanisms=(COUNTS,))},
        {"study": "6" * 64},
        {"epsilon": 2.0},
        {"delta": 1e-6},
        {"kind": "simulation"},
    ],
)
def test_run_keeps_the_terms_it_was_reserved_with(path, change):
    used(path)
    with opened(path) as ledger, pytest.raises(Refused, match="other-plan: a run keeps the study and plan"):
        ledger.reserve("run-1", **TERMS | change)


def test_plans_add_up_to_the_budget_and_not_beyond(path):
    with opened(path, Budget(epsilon=9.0, delta=1.0e-4)) as ledger:
        for run in ("a", "b", "c"):
            ledger.reserve(run, **TERMS)
        with pytest.raises(BudgetRefused, match=r"ledger.jsonl: all plans together need epsilon 9.1, budget 9"):
            ledger.reserve("d", **TERMS | {"epsilon": 0.1})
        ledger.reserve("a", **TERMS)
        assert ledger.reserved() == (9.0, pytest.approx(3e-5))


def test_delta_has_a_budget_of_its_own(path):
    with opened(path, Budget(epsilon=100.0, delta=1.5e-5)) as ledger:
        ledger.reserve("a", **TERMS)
        with pytest.raises(BudgetRefused, match=r"need delta 2e-05, budget 1\.5e-05"):
            ledger.reserve("b", **TERMS)


def test_budget_counts_plans_of_earlier_processes_and_refused_ones_leave_no_line(path):
    before = used(path)
    with opened(path, Budget(epsilon=5.0, delta=1e-3)) as ledger, pytest.raises(BudgetRefused, match="epsilon 6"):
        ledger.reserve("run-2", **TERMS)
    assert path.read_bytes() == before


def test_tenths_fit_a_budget_of_their_sum(path):
    with opened(path, Budget(epsilon=0.3, delta=1e-3)) as ledger:
        for run in ("a", "b", "c"):
            ledger.reserve(run, **TERMS | {"epsilon": 0.1})
        assert ledger.reserved()[0] == pytest.approx(0.3)
        with pytest.raises(BudgetRefused, match=r"budget 0\.3"):
            ledger.reserve("d", **TERMS | {"epsilon": 1e-6})


def test_epsilons_about_different_units_are_not_added(path):
    used(path)
    with opened(path) as ledger:
        with pytest.raises(BudgetRefused, match=r"about one donor, this one about one site: their ε do not add up"):
            ledger.reserve("run-2", **TERMS, unit="site")
        ledger.reserve("run-2", **TERMS, unit="site", kind="simulation")
        ledger.reserve("run-3", **TERMS)
    assert [r["unit"] for r in records(path) if r["event"] == "reserve"] == ["donor", "site", "donor"]


def test_unit_of_a_plan_that_was_given_back_binds_nobody(path):
    used(path, [])
    with opened(path) as ledger:
        ledger.settle("run-1")
        ledger.reserve("run-2", **TERMS, unit="site")
        assert ledger.reserved() == (3.0, 1e-5)


def test_simulation_claims_no_epsilon_and_still_keeps_to_its_plan(path):
    with opened(path, Budget(epsilon=1.0, delta=1e-5)) as ledger:
        ledger.reserve("run-1", **TERMS, kind="simulation")
        ledger.charge("run-1", COUNTS)
        assert ledger.reserved() == ledger.spent() == (0.0, 0.0)
        with pytest.raises(Refused, match="outside-plan"):
            ledger.charge("run-1", COUNTS)
    lines = records(path)[1:]
    assert {line["kind"] for line in lines} == {"simulation"}
    assert (lines[0]["epsilon"], lines[0]["delta"], lines[1]["spends"]) == (None, None, [None, None])


def test_trust_none_is_charged_without_a_mechanism_and_without_a_limit(path):
    with opened(path) as ledger:
        ledger.reserve("run-1", "5" * 64, Plan(), None, None, kind="none")
        for _ in range(5):
            ledger.charge("run-1", None)
        with pytest.raises(Refused, match="outside-plan: the plan allows 0"):
            ledger.charge("run-1", STEP)
    assert [line["kind"] for line in records(path)[1:]] == ["none"] * 6


def test_account_with_a_budget_takes_no_part_in_trust_none(path):
    with opened(path, Budget(epsilon=3.0, delta=1e-5)) as ledger, pytest.raises(BudgetRefused, match="trust 'none'"):
        ledger.reserve("run-1", "5" * 64, Plan(), None, None, kind="none")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"epsilon": None}, "a private plan with queries, epsilon and delta, got epsilon=None"),
        ({"plan": Plan()}, "a private plan with queries, epsilon and delta"),
        ({"kind": "other"}, "kind one of .*, got kind='other'"),
    ],
)
def test_reservation_that_claims_nothing_definite_is_refused(path, change, rule):
    with opened(path) as ledger, pytest.raises(SpecError, match=rule):
        ledger.reserve("run-1", **TERMS | change)


def test_chain_holds_and_its_head_changes_with_every_line(path):
    heads = []
    with opened(path) as ledger:
        heads.append(ledger.head)
        ledger.reserve("run-1", **TERMS)
        heads.append(ledger.head)
        ledger.charge("run-1", STEP)
        heads.append(ledger.head)
    verdict = verify(path)
    assert (verdict.records, verdict.head, verdict.noted, verdict.torn) == (3, heads[-1], 0, 0)
    assert len(set(heads)) == 3


def edits():
    """Name and make what nobody may do to a ledger of four lines."""
    yield "swapped", lambda lines: [lines[0], lines[2], lines[1], lines[3]]
    yield "dropped", lambda lines: [lines[0], lines[1], lines[3]]
    yield "doubled", lambda lines: [*lines, lines[3]]
    yield "cheaper", lambda lines: [lines[0], lines[1].replace(b'"epsilon":3.0', b'"epsilon":1.0'), *lines[2:]]
    yield "spoiled", lambda lines: [lines[0], lines[1][:-9] + b"\n", *lines[2:]]
    yield "beheaded", lambda lines: lines[1:]
    yield "rehashed", lambda lines: [lines[0], cheaper(lines), *lines[2:]]


def cheaper(lines):
    """Return the second line with a lower price and the hash that fits it."""
    head, record = json.loads(lines[0])["hash"], json.loads(lines[1]) | {"epsilon": 1.0}
    record.pop("hash")
    return chain.canonical(record | {"hash": chain.chained(head, record)})


@pytest.mark.parametrize("edit", [pytest.param(edit, id=name) for name, edit in edits()])
def test_edited_ledger_is_refused_with_file_and_line(path, edit):
    lines = used(path).splitlines(keepends=True)
    path.write_bytes(b"".join(edit(lines)))
    for reader in (verify, opened):
        with pytest.raises(SpecError, match=r"ledger.jsonl: line \d: expected the next record of the chain"):
            reader(path)


def test_line_torn_at_any_byte_is_told_of_and_the_run_goes_on(path):
    whole = used(path)
    last = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(last + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert verify(path).torn == cut - last
        with opened(path) as ledger:
            ledger.charge("run-1", STEP)
            assert ledger.noted == 1
        found = verify(path)
        assert (found.noted, found.torn, found.records) == (1, 0, 5)
        assert path.read_bytes()[:cut] == whole[:cut]


def test_line_that_lacks_only_its_end_is_kept_as_a_charge(path):
    whole = used(path, [STEP, STEP, STEP])
    path.write_bytes(whole[:-1])
    assert verify(path).torn > 0
    with opened(path) as ledger, pytest.raises(Refused, match="outside-plan"):
        ledger.charge("run-1", STEP)
    assert path.read_bytes() == whole


def test_first_line_torn_at_any_byte_does_not_lose_the_account(path):
    opened(path).close()
    first = path.read_bytes()
    for cut in range(1, len(first)):
        path.write_bytes(first[:cut])
        used(path)
        assert verify(path).torn == 0
        with pytest.raises(SpecError, match="expected the ledger of account 'account-2'"):
            Ledger(path, "account-2")


def test_crash_while_telling_of_a_torn_line_is_told_of_too(path):
    path.write_bytes(used(path)[:-20])
    opened(path).close()
    path.write_bytes(path.read_bytes()[:-20])
    with opened(path) as ledger:
        assert (ledger.noted, ledger.spent()) == (1, (3.0, 1e-5))
    assert verify(path).torn == 0


def test_torn_record_must_match_the_bytes_before_it(path):
    path.write_bytes(used(path)[:-20])
    opened(path).close()
    data = path.read_bytes()
    start = data.rindex(b'"event":"charge"')
    path.write_bytes(data[:start] + b'"event":"CHARGE"' + data[start + 16 :])
    with pytest.raises(SpecError, match="line 5: expected the next record of the chain"):
        verify(path)


def test_ledger_of_another_account_is_refused(path):
    used(path)
    with pytest.raises(SpecError, match="expected the ledger of account 'account-2', got another account's"):
        Ledger(path, "account-2")


def test_second_handle_is_refused_until_the_first_is_closed(path):
    with opened(path), pytest.raises(Refused, match=r"ledger-busy: ledger\.jsonl is open elsewhere"):
        opened(path)
    opened(path).close()


HOLD = """
    import sys, time
    from pathlib import Path
    from fedgenome.privacy.ledger import Ledger
    with Ledger(Path(sys.argv[1]), "account-1"):
        print("held", flush=True)
        time.sleep(60)
"""


def test_second_process_is_refused_and_a_killed_one_leaves_no_lock(path):
    holder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(HOLD), path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Refused, match="ledger-busy"):
            opened(path)
    finally:
        holder.kill()
        holder.communicate()
    opened(path).close()


def test_closed_ledger_refuses_every_charge(path):
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
    with pytest.raises(Refused, match="ledger-closed: nothing is answered without a ledger"):
        ledger.charge("run-1", STEP)


@pytest.mark.parametrize("fault", ["short write", "full disk"])
def test_line_that_cannot_be_written_closes_the_ledger(path, monkeypatch, fault):
    def failing(fd, data, write=os.write):
        if fault == "full disk":
            raise OSError(28, "No space left on device")
        return write(fd, data[:10])

    ledger = opened(path)
    ledger.reserve("run-1", **TERMS)
    monkeypatch.setattr(module.os, "write", failing)
    with pytest.raises(Refused, match="ledger-closed: a line could not be written"):
        ledger.charge("run-1", STEP)
    monkeypatch.undo()
    with pytest.raises(Refused, match="ledger-closed"):
        ledger.charge("run-1", STEP)
    with opened(path) as again:
        assert (again.noted, again.spent()) == (fault == "short write", (0.0, 0.0))


def test_charge_is_on_disk_before_it_returns(path, monkeypatch):
    calls = []
    monkeypatch.setattr(module.os, "fdatasync", lambda fd: calls.append(len(path.read_bytes())))
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        ledger.charge("run-1", STEP)
        assert calls[-1] == len(path.read_bytes())
    assert len(calls) == 3


def test_ledger_is_readable_by_its_owner_alone(path):
    used(path)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("epsilon", "delta"), [(0.0, 1e-5), (float("inf"), 1e-5), (1.0, 0.0), (1.0, 1.0)])
def test_budget_outside_its_range_is_refused(epsilon, delta):
    with pytest.raises(SpecError, match=r"expected 0 < (epsilon < inf|delta < 1), got"):
        Budget(epsilon=epsilon, delta=delta)


def test_ledger_coins_and_row_sums_load_neither_torch_nor_the_accountant():
    modules = ", ".join(f"fedgenome.privacy.{name}" for name in ("ledger", "coins", "clipping"))
    probe = f"import sys, {modules}; print([m for m in ('torch', 'dp_accounting', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_query_of_local_training_is_charged_as_its_steps_also_after_a_restart(path):
    form = PLAN.mechanisms[0].form
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        ledger.charge("run-1", form, 2)
        with pytest.raises(Refused, match="the plan allows 3 queries"):
            ledger.charge("run-1", form, 2)
    with opened(path) as ledger:
        ledger.charge("run-1", form)
        with pytest.raises(Refused, match="the plan allows 3 queries"):
            ledger.charge("run-1", form)
    assert [line.get("steps") for line in records(path) if line["event"] == "charge"] == [2, None]


def test_no_steps_are_no_charge(path):
    with opened(path) as ledger:
        ledger.reserve("run-1", **TERMS)
        with pytest.raises(SpecError, match="steps >= 1"):
            ledger.charge("run-1", PLAN.mechanisms[0], 0)
