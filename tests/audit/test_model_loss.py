"""Attacks on what a model loses: memory that hides behind difficulty, controls, and a model without a table."""

import dataclasses

import numpy as np
import pytest

from fedgenome.audit.bounds import ranking
from fedgenome.audit.gate import Policy, judge
from fedgenome.audit.model_loss import by_heart, calibrated, model_loss
from fedgenome.audit.run import GATE, ON_MODEL, audit
from fedgenome.audit.scales import Values
from fedgenome.audit.targets import Records, Target
from fedgenome.errors import SpecError

SCALE = Values(0.0, 8.0)


def run(people, losses, table=None, **more):
    members, controls, base = people
    rng = np.random.default_rng(0)
    given = {"members": members, "controls": controls, "base": base, "synthetic": table}
    return audit(losses=losses, rng=rng, **given, scale=SCALE, **more)


@pytest.fixture
def people(draw):
    """300 members, 94 controls, 46 of the base, 20 genes."""
    rng = np.random.default_rng(0)
    return tuple(draw(n, rng, genes=20) for n in (300, 94, 46))


def surprise(x, label):
    """A loss that knows nobody: how far rows are from their class."""
    return ((x - 3 - label[:, None]) ** 2).sum(1) * (1 + 0.01 * np.sin(1e4 * x.sum(1)))


def knowing(rows, off):
    """The same, but better by ``off`` for rows that it was trained on."""
    known = {row.tobytes() for row in rows.x}
    return lambda x, label: surprise(x, label) * np.array([1 - off * (row.tobytes() in known) for row in x])


def uneven(n, rng):
    """People of whom some are hard for every model; values that scaling keeps exactly."""
    label = rng.integers(0, 2, n)
    spread = np.exp(rng.normal(-1, 0.5, (n, 1)))
    x = np.rint((3 + label[:, None] + spread * rng.normal(size=(n, 20))) * 32).clip(0, 256) / 32
    return Records(x=x.astype(np.float32), label=label)


def areas(people, losses):
    members, controls, base = (SCALE.of(each) for each in people)
    target = Target(table=base, samples=base, losses=SCALE.losses(losses))
    attacks = model_loss, calibrated
    return [ranking.auc(each(members, target, base), each(controls, target, base)) for each in attacks]


def test_calibration_finds_memory_that_difficulty_hides_and_none_where_there_is_none():
    rng = np.random.default_rng(0)
    people = tuple(uneven(n, rng) for n in (300, 94, 46))
    bare, found = areas(people, knowing(people[0], 0.2))
    assert bare < 0.6 and found > 0.68
    assert all(abs(area - 0.5) < 0.1 for area in areas(people, surprise))


def test_calibration_reads_no_member_but_the_row_in_question(people):
    members, _, base = (SCALE.of(each) for each in people)
    target = Target(table=base, samples=base, losses=SCALE.losses(surprise))
    whole = calibrated(members, target, base)
    np.testing.assert_allclose(calibrated(members.rows(np.arange(5)), target, base), whole[:5])
    assert not np.allclose(calibrated(members, target, base.rows(np.arange(40))), whole)  # the base it does read


def test_a_label_that_the_base_lacks_is_measured_from_everybodys_mean(people):
    members, _, base = (SCALE.of(each) for each in people)
    target = Target(table=base, samples=base, losses=SCALE.losses(surprise))
    lacking = base.rows(base.label == 0)
    assert np.isfinite(calibrated(members, target, lacking)).all()


@pytest.mark.parametrize("genes", [3, 20, 200])
def test_a_model_knows_by_heart_what_it_was_fitted_to_and_nobody_else(draw, genes):
    rng = np.random.default_rng(1)
    known, others = (SCALE.of(draw(n, rng, genes=genes)) for n in (150, 100))
    losses = by_heart(known)
    assert ranking.auc(-losses(known), -losses(others)) > 0.95


def test_a_model_that_knows_its_members_is_withheld_though_its_table_is_clean(people, draw):
    table = draw(300, np.random.default_rng(2), genes=20)
    told = by_heart(people[0])
    leaking = run(people, lambda x, label: told(Records(x=x, label=label)), table)
    verdict = judge(leaking, Policy())
    assert [attack.name for attack in leaking.attacks] == list(GATE)
    assert {reason.split(":")[0] for reason in verdict.reasons} == {"model-loss-calibrated"}
    assert judge(run(people, surprise, table), Policy()).released


def test_a_model_alone_has_no_table_to_attack(people):
    found = run(people, surprise, attacks=(*GATE, "model-loss"))
    assert [(attack.name, attack.of) for attack in found.attacks] == [(name, "model") for name in ON_MODEL]
    assert (found.near_copies, found.rows, found.samples) == ((), 0, 0)
    assert [check.kind for check in found.checks] == ["positive", "negative"] * 2 + ["blind"] and not found.void
    assert "a model that knows by heart 50% of the members" in found.checks[0].rule


def test_more_draws_than_the_table_are_the_models(people, draw):
    table, draws = (draw(n, np.random.default_rng(n), genes=20) for n in (100, 400))
    seen = {attack.name: attack.of for attack in run(people, None, table, samples=draws).attacks}
    assert seen == {"closest-record": "data", "gan-leaks": "model"}
    assert {attack.of for attack in run(people, None, table).attacks} == {"data"}


def test_a_loss_that_is_no_number_finds_nobody(people):
    (found,) = run(people, lambda x, label: np.full(len(x), np.nan), attacks=("model-loss",)).attacks
    assert (found.auc.estimate, found.p_value > 0.4) == (0.5, True)


def test_what_cannot_be_attacked_is_refused(people, draw):
    table = draw(50, np.random.default_rng(3), genes=20)
    with pytest.raises(SpecError, match=r"a table for attacks on tables, a model .*attacks='model-loss'"):
        run(people, None, table, attacks=("model-loss",))
    with pytest.raises(SpecError, match=r"expected a target with a model that tells losses"):
        calibrated(people[0], Target(table=table, samples=table), people[2])


def test_attacks_of_a_person_count_once(people):
    members = dataclasses.replace(people[0], donor=np.arange(300) // 3)
    found = run((members, *people[1:]), surprise, unit="donor")
    assert found.members == 100
