"""Who withdraws is left out from the next question on, as if never there; only keyed hashes are kept."""

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.deployment.hospital import approvals, journal, site, withdrawal, withdrawn
from fedgenome.errors import SpecError
from fedgenome.federation.wire import Call
from fedgenome.privacy.coins import chosen
from fedgenome.streams import Root
from fedgenome.study import Schema
from tests.deployment_roles.hospitals import SCHEMA, agreed, joining, rules, settle_in, signed
from tests.federation.small import make_shard
from tests.federation.test_site import opened, query_of

COUNTS = agreed("none")
SAMPLED = agreed(kind="cvae")
PUBLIC = {"public": True, "table": rules(trust=["none"], budget_epsilon=None)}


def asking(counter, study, run="run-1", **changes):
    query = query_of(study, run=run, **changes)
    answer = counter.handle("ask", Call(header={"query": query.header()}, arrays=query.question.payload))
    return answer.refusal or opened(query, answer)


def joined(desk, config, study, **changes):
    approvals.approve(config, signed(study))
    counter = desk(config)
    assert counter.handle("join", joining(study, **changes)).refusal is None
    return counter


# ---- What is answered


def test_open_run_goes_on_without_the_donor_and_repeats_what_it_answered(settled, desk):
    config = settled(**PUBLIC)
    counter = joined(desk, config, COUNTS)
    before = asking(counter, COUNTS)
    withdrawal.withdraw(config, "donor-0")  # of class x
    assert asking(counter, COUNTS).tolist() == before.tolist()
    after = asking(counter, COUNTS, attempt=1)
    assert before[:2] == pytest.approx([10, 10], abs=1e-3) and after[:2] == pytest.approx([9, 10], abs=1e-3)


def lacking(shard, donor):
    """Return a shard that never had ``donor``, built row by row."""
    rows = np.flatnonzero(shard.donor != donor)
    names = tuple(name for i, name in enumerate(shard.donors) if i != donor)
    renumbered = shard.donor[rows] - (shard.donor[rows] > donor)
    given = {"x": shard.x[rows], "label": shard.label[rows], "donor": renumbered, "mask": shard.mask[rows]}
    others = np.arange(shard.n_donors) != donor
    return replace(shard, donors=names, held=shard.held[others], canary=shard.canary[others], **given)


@pytest.mark.parametrize("when", ["before the join", "in the run"])
def test_sampled_answer_is_that_of_a_site_that_never_had_the_donor(tmp_path, desk, when):
    answers = []
    for name, shard in (("whole", make_shard(20)), ("never", lacking(make_shard(20), 7))):
        (tmp_path / name).mkdir()
        config = settle_in(tmp_path / name, shard, public=True, seed=3)
        early, late = when == "before the join" and name == "whole", when == "in the run" and name == "whole"
        if early:
            withdrawal.withdraw(config, "donor-7")
        counter = joined(desk, config, SAMPLED)
        if late:
            withdrawal.withdraw(config, "donor-7")
        answers.append(asking(counter, SAMPLED).tobytes())
    assert answers[0] == answers[1]


def by_row(root, donors):
    """The broken twin of coins: thrown in the order of rows."""
    return root.stream("coin").generator().random(len(donors)) < 0.5


def by_id(root, donors):
    return chosen(root, ("run", 0, 0), donors, 0.5)


@pytest.mark.parametrize(("coins", "alone"), [(by_id, True), (by_row, False)])
def test_withdrawals_leave_the_coins_of_others_alone(tmp_path, coins, alone):
    shard, root = make_shard(64), Root.simulation(1)
    for donor in ("donor-3", "donor-31"):
        withdrawn.add(tmp_path, donor)
    left = withdrawn.Present(tmp_path)(shard)
    full = dict(zip(shard.donors, coins(root, shard.donors), strict=True))
    assert ([full[name] for name in left.donors] == coins(root, left.donors).tolist()) == alone


@given(gone=st.sets(st.integers(0, 11)))
def test_remaining_rows_are_those_of_the_others(gone):
    shard = replace(make_shard(12), held=np.arange(12) % 2 == 0, canary=np.arange(12) - 5)
    marks = withdrawn.Marks(key=bytes(32), found=frozenset())
    marks = replace(marks, found=frozenset(marks.of(f"donor-{donor}") for donor in gone))
    left, expected = withdrawn.without(shard, marks), shard
    for donor in sorted(gone, reverse=True):
        expected = lacking(expected, donor)
    for name in ("x", "label", "donor", "mask", "held", "canary"):
        assert getattr(left, name).tobytes() == getattr(expected, name).tobytes()
    assert left.donors == expected.donors


def test_agent_sees_a_withdrawal_at_once_and_reads_the_file_only_when_it_changed(tmp_path, monkeypatch):
    shard, reads, load = make_shard(5), [], withdrawn.load
    monkeypatch.setattr(withdrawn, "load", lambda state: reads.append(state) or load(state))
    present = withdrawn.Present(tmp_path)
    assert present(shard) is present(shard) is shard and len(reads) == 1
    withdrawn.add(tmp_path, "donor-1")
    assert present(shard).donors == present(shard).donors == ("donor-0", "donor-2", "donor-3", "donor-4")


def test_site_whose_donors_all_withdrew_answers_with_nothing(settled, desk):
    config = settled(make_shard(2), **PUBLIC)
    counter = joined(desk, config, COUNTS)
    for donor in ("donor-0", "donor-1"):
        withdrawal.withdraw(config, donor)
    assert not asking(counter, COUNTS).any()


# ---- What is kept


def test_state_folder_holds_a_keyed_hash_and_never_the_id(settled):
    config = settled()
    withdrawal.withdraw(config, "donor-7")
    blobs = [path.read_bytes() for path in config.state.rglob("*") if path.is_file()]
    traces = [b"donor-7", hashlib.sha256(b"donor-7").hexdigest().encode()]
    assert len(blobs) >= 6 and not any(trace in blob for trace in traces for blob in blobs)
    assert re.fullmatch(r"[0-9a-f]{64}\n", (config.state / withdrawn.FILE).read_text())
    assert (config.state / withdrawn.KEY).stat().st_mode & 0o777 == 0o600


def test_two_sites_keep_different_hashes_of_one_donor(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert withdrawn.add(tmp_path / name, "donor-1")
    (a,), (b,) = (withdrawn.load(tmp_path / name).found for name in ("a", "b"))
    assert a != b


DAMAGE = {
    "a torn line": (lambda state: (state / withdrawn.FILE).write_text("ab\n"), r"line 1: expected 64 hex"),
    "no file": (lambda state: (state / withdrawn.FILE).unlink(), r"withdrawn and withdrawal.key together"),
    "no key": (lambda state: (state / withdrawn.KEY).unlink(), r"withdrawn and withdrawal.key together"),
    "an open key": (lambda state: (state / withdrawn.KEY).chmod(0o644), r"mode 600\), got 644"),
    "no hex key": (lambda state: (state / withdrawn.KEY).write_text("x"), r"expected 64 hex digits"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_and_stops_answers_before_the_charge(settled, desk, what):
    spoil, error = DAMAGE[what]
    config = settled()
    withdrawal.withdraw(config, "donor-7")
    counter = joined(desk, config, SAMPLED)
    spoil(config.state)
    assert asking(counter, SAMPLED)[0] == "invalid"
    assert '"charge"' not in (config.state / site.LEDGER).read_text()
    with pytest.raises(SpecError, match=error):
        withdrawal.withdraw(config, "donor-8")


def test_crash_before_the_key_was_made_is_no_damage(tmp_path):
    (tmp_path / withdrawn.FILE).touch()
    assert withdrawn.load(tmp_path).found == frozenset()
    assert withdrawn.add(tmp_path, "donor-1") and not withdrawn.add(tmp_path, "donor-1")


# ---- What the operator is told


def test_runs_that_answered_are_told_with_what_they_spent_and_what_is_not_undone(settled, desk):
    config = settled()
    counter = joined(desk, config, SAMPLED, run="answered")
    asking(counter, SAMPLED, run="answered")
    counter.handle("close", Call(header={}))
    assert counter.handle("join", joining(SAMPLED, run="only-reserved")).refusal is None
    (entered,) = withdrawal.withdraw(config, "donor-7").entered
    assert (entered.run, entered.study, entered.open) == ("answered", SAMPLED.digest, False)
    said = withdrawal.text(withdrawal.withdraw(config, "donor-7"))
    assert "ε = 5, δ = 0.001 spent a donor" in said
    for limit in ("not unlearned", "not refunded", "not recalled"):
        assert limit in said


def test_repeated_withdrawal_changes_nothing_and_tells_of_no_later_run(settled, desk):
    config = settled(**PUBLIC)
    counter = joined(desk, config, COUNTS, run="first")
    asking(counter, COUNTS, run="first")
    first = withdrawal.withdraw(config, "donor-7")
    assert counter.handle("join", joining(COUNTS, run="later")).refusal is None
    asking(counter, COUNTS, run="later")
    again = withdrawal.withdraw(config, "donor-7")
    assert (first.before, again.before, again.entered) == (False, True, first.entered)
    (line,) = [line for line in journal.every(config.state / journal.FILE) if line["event"] == "withdraw"]
    assert line["runs"] == ["first"] and len(withdrawn.load(config.state).found) == 1


def test_unknown_id_is_one_error_that_names_nobody_and_leaves_no_trace(settled):
    config = settled()
    files = sorted(config.state.rglob("*"))
    with pytest.raises(
        SpecError, match=r"cohort.h5ad: expected an id of obs\['patient'\], found none as given"
    ) as fault:
        withdrawal.withdraw(config, "donor-77")
    assert "donor-" not in str(fault.value) and sorted(config.state.rglob("*")) == files


def test_without_a_donor_column_a_row_withdraws_and_is_said_to_be_no_person(settled):
    config = settled()
    config = config.model_copy(update={"cohort": config.cohort.model_copy(update={"donor": None})})
    found = withdrawal.withdraw(config, "row-3")
    assert found.unit == "row" and "row, not a person" in withdrawal.text(found)
    assert site.shard_of(config, Schema.model_validate(SCHEMA | {"unit": "row"})).n_donors == 19
