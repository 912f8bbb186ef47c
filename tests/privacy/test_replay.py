"""Whoever rewrites a whole chain still has to keep every rule: each broken one is named with its line."""

import json
import subprocess
import sys
import textwrap

import pytest

from fedgenome.errors import Refused, SpecError
from fedgenome.privacy import accounting, chain
from fedgenome.privacy.ledger import Budget, Ledger
from fedgenome.privacy.replay import replay, verify
from fedgenome.query import Mechanism
from fedgenome.secure import identity
from fedgenome.secure.identity import Identity
from fedgenome.study import Plan

STEP = Mechanism(kind="gaussian", level=2.0, sampling=0.1, scope="cvae", count=2)
PLAN = Plan(mechanisms=(STEP,))
TERMS = {"study": "5" * 64, "plan": PLAN, "epsilon": 1.0, "delta": 1e-5}
SITE = Identity.generate()
BUDGET = Budget(epsilon=1.5, delta=1e-4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def honest(path, signer=None):
    """Write open, reserve, charge, charge, close; return the records without their hashes."""
    with Ledger(path, "account-1", BUDGET, signer=signer) as ledger:
        ledger.reserve("run-1", **TERMS)
        ledger.charge("run-1", STEP)
        ledger.charge("run-1", STEP)
        ledger.settle("run-1")
    records = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [{name: value for name, value in record.items() if name != "hash"} for record in records]


def forge(path, records):
    """Write ``records`` as a chain that holds: what anybody can do who can write the file."""
    head, lines = chain.GENESIS, []
    for number, record in enumerate(records):
        record = record | {"line": number}
        head = chain.chained(head, record)
        lines.append(chain.canonical(record | {"hash": head}))
    path.write_bytes(b"".join(lines))


def checked(path):
    return verify(path, price=accounting.priced, signature=identity.verify)


def changed(number, **fields):
    return lambda records: [record | fields if k == number else record for k, record in enumerate(records)]


PRICEY = PLAN.model_dump(mode="json") | {
    "mechanisms": [{**PLAN.model_dump(mode="json")["mechanisms"][0], "level": 0.5}]
}
FORGERIES = {
    "charge beyond the plan": (lambda r: [*r[:4], r[3], r[4]], 5, "the plan allows 2 queries of this form"),
    "charge after the close": (lambda r: [*r, r[3]], 6, "run-closed: nothing is answered after a run's close"),
    "charge of another form": (changed(2, form=None), 3, "the plan allows 0 queries of this form"),
    "charge of no run": (changed(2, run="run-2"), 3, "no plan is reserved for this run"),
    "first charge that spends nothing": (changed(2, spends=None), 3, r"a charge that spends \[1.0, 1e-05\]"),
    "charge of another kind": (changed(2, kind="simulation"), 3, "a charge of kind private"),
    "price below the plan's": (changed(1, plan=PRICEY), 2, r"a plan of at most epsilon 1, this one costs \d"),
    "plan over its budget": (changed(1, budget={"epsilon": 0.5, "delta": 0.1}), 2, "epsilon 1, budget 0.5"),
    "kind that does not exist": (changed(1, kind="public"), 2, "kind one of"),
    "simulation with a price": (changed(1, kind="simulation"), 2, "no epsilon and delta under simulation"),
    "private without a price": (changed(1, epsilon=None), 2, "a private plan with queries, epsilon and delta"),
    "reserved twice": (lambda r: [*r[:2], r[1], *r[2:]], 3, "one reservation a run"),
    "closed twice": (lambda r: [*r, r[4]], 6, "a close of an open run"),
    "two accounts": (lambda r: [r[0], r[0], *r[1:]], 2, "one open, before all else"),
    "no account": (lambda r: r[1:], 1, "one open, before all else"),
    "refund": (lambda r: [*r, {"event": "refund", "run": "run-1"}], 6, "got event='refund'"),
    "field left out": (lambda r: [r[0], {k: v for k, v in r[1].items() if k != "plan"}], 2, "every field of a reserve"),
    "plan that is none": (changed(1, plan=7), 2, "every field of a reserve"),
    "another version": (changed(0, version=2), 1, "a ledger of version 1"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_rehashed_ledger_that_breaks_a_rule_is_refused_with_its_line(path, name):
    forgery, line, rule = FORGERIES[name]
    forge(path, forgery(honest(path)))
    with pytest.raises(SpecError, match=rf"ledger\.jsonl: line {line}: .*{rule}"):
        checked(path)


def test_forging_nothing_gives_the_same_bytes_and_no_fault(path):
    records = honest(path)
    before = path.read_bytes()
    forge(path, records)
    assert path.read_bytes() == before and checked(path).records == 5


@pytest.mark.parametrize(
    ("old", "new"), [(b'"event":"charge"', b'"event": "charge"'), (b'"spends":null', b'"spends":1e400')]
)
def test_line_in_another_spelling_is_no_record(path, old, new):
    honest(path)
    edited = path.read_bytes().replace(old, new, 1)
    path.write_bytes(edited)
    with pytest.raises(SpecError, match=r"line \d: expected the next record of the chain"):
        checked(path)
    assert new in edited


def test_agent_refuses_to_open_what_breaks_a_rule(path):
    forge(path, FORGERIES["charge beyond the plan"][0](honest(path)))
    with pytest.raises(SpecError, match=r"line 5: outside-plan"):
        Ledger(path, "account-1")


# ---- Signatures


def test_reservation_and_close_are_signed_and_nothing_else(path):
    signed = ["signature" in record for record in honest(path, SITE)]
    assert signed == [False, True, False, False, True]
    found = checked(path)
    assert found.signers == [SITE.public] and found.unsigned == 0


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4])
def test_record_changed_under_a_signature_is_caught_though_the_chain_holds(path, number):
    records = honest(path, SITE)
    forge(path, changed(number, note="added")(records))
    with pytest.raises(SpecError, match=rf"line {2 if number < 2 else 5}: ledger line: not signed by the identity"):
        checked(path)


def test_charge_left_out_before_a_signed_close_is_caught(path):
    records = honest(path, SITE)
    forge(path, [*records[:3], records[4]])
    with pytest.raises(SpecError, match="line 4: ledger line: not signed"):
        checked(path)


@pytest.mark.parametrize("fields", [{"signature": "zz"}, {"signature": 7}, {"signature": "00" * 64}])
def test_signature_that_is_none_is_refused(path, fields):
    forge(path, changed(1, **fields)(honest(path, SITE)))
    with pytest.raises(SpecError, match=r"line 2: (expected signer and signature as hex|ledger line: not signed)"):
        checked(path)


def test_lines_that_nobody_signed_are_counted(path):
    forge(path, honest(path))
    assert checked(path).unsigned == 2


# ---- Closing


def test_closed_run_takes_no_charge_and_stays_spent(path):
    honest(path)
    with Ledger(path, "account-1") as ledger:
        with pytest.raises(Refused, match="run-closed"):
            ledger.charge("run-1", STEP)
        ledger.settle("run-1")
        assert ledger.spent() == ledger.reserved() == (1.0, 1e-5)
    assert verify(path).records == 5


def test_plan_closed_before_its_first_share_is_free_again(path):
    with Ledger(path, "account-1", BUDGET) as ledger:
        ledger.reserve("run-1", **TERMS)
        ledger.settle("run-1")
        assert ledger.reserved() == (0.0, 0.0)
        ledger.reserve("run-2", **TERMS)
        with pytest.raises(Refused, match="run-closed"):
            ledger.charge("run-1", STEP)
    assert checked(path).books.reserved() == (1.0, 1e-5)


def test_settling_a_run_that_was_never_reserved_writes_nothing(path):
    with Ledger(path, "account-1") as ledger:
        ledger.settle("run-1")
    assert verify(path).records == 1


# ---- Crashes


def test_file_cut_at_any_byte_keeps_all_whole_lines_and_tells_of_the_rest(path):
    honest(path)
    whole = path.read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        found = replay(whole[:cut], path)
        lines = sum(end <= cut for end in ends)
        assert (found.records, found.torn) == (lines, cut - max([0, *ends[:lines]]))
        assert found.books.spent() == ((1.0, 1e-5) if lines >= 3 else (0.0, 0.0))


CHARGES = """
    import sys
    from pathlib import Path
    from fedgenome.privacy.ledger import Ledger
    from fedgenome.study import Plan
    from fedgenome.query import Mechanism
    plan = Plan(mechanisms=(Mechanism(kind="gaussian", level=2.0, sampling=0.1, scope="cvae", count=10**6),))
    with Ledger(Path(sys.argv[1]), "account-1") as ledger:
        ledger.reserve("run-1", "5" * 64, plan, 1.0, 1e-5)
        while True:
            ledger.charge("run-1", plan.mechanisms[0])
            print("sent", flush=True)
"""


def test_killed_agent_has_charged_at_least_what_it_sent(path):
    agent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CHARGES), path], stdout=subprocess.PIPE, text=True)
    sent = [agent.stdout.readline() for _ in range(50)]
    agent.kill()
    sent += agent.communicate()[0].splitlines()
    charged = sum(verify(path).books.runs["run-1"].used.values())
    assert len(sent) <= charged <= len(sent) + 1


RESERVES = """
    import sys, time
    from pathlib import Path
    from fedgenome.errors import FedgenomeError
    from fedgenome.privacy.ledger import Budget, Ledger
    from fedgenome.study import Plan
    from fedgenome.query import Mechanism
    plan = Plan(mechanisms=(Mechanism(kind="gaussian", level=9.0),))
    for _ in range(200):
        try:
            with Ledger(Path(sys.argv[1]), "account-1", Budget(epsilon=1.5, delta=1.0e-4)) as ledger:
                ledger.reserve(sys.argv[2], "5" * 64, plan, 1.0, 1e-5)
                ledger.charge(sys.argv[2], plan.mechanisms[0])
            print("spent")
            break
        except FedgenomeError as fault:
            if "busy" not in str(fault):
                print(fault)
                break
            time.sleep(0.01)
"""


def test_of_two_processes_that_want_the_last_of_a_budget_one_gets_it(path):
    command = [sys.executable, "-c", textwrap.dedent(RESERVES), path]
    both = [subprocess.Popen([*command, run], stdout=subprocess.PIPE, text=True) for run in ("a", "b")]
    said = sorted(process.communicate()[0] for process in both)
    assert said == ["ledger.jsonl: all plans together need epsilon 2, budget 1.5\n", "spent\n"]
    assert verify(path).books.spent() == (1.0, 1e-5)
