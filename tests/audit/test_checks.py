import numpy as np
import pytest

from fedgenome.audit import checks
from fedgenome.audit.run import ATTACKS
from fedgenome.audit.targets import Records, Target


@pytest.fixture
def scene(draw):
    rng = np.random.default_rng(5)
    members, controls, base = draw(200, rng), draw(80, rng), draw(40, rng)
    table = draw(300, rng)
    return members, controls, base, Target(table=table, samples=table)


def test_planted_table_holds_half_of_the_members_and_its_twin_none(scene):
    members, _, base, target = scene
    leaking, clean = checks.planted(members, base, target, np.random.default_rng(0))
    held = [(members.x[:, None] == table.x).all(2).any(1).sum() for table in (leaking.table, clean.table)]
    assert held == [100, 0]
    assert len(leaking.table) == len(clean.table) == 300


def test_planted_copies_fit_a_table_smaller_than_the_members(scene):
    members, _, base, target = scene
    small = Target(table=target.table.rows(np.arange(10)), samples=target.samples)
    leaking, _ = checks.planted(members, base, small, np.random.default_rng(0))
    assert (members.x[:, None] == leaking.table.x).all(2).any(1).sum() == 100


def test_all_checks_pass_where_members_and_controls_are_alike(scene):
    members, controls, base, target = scene
    out = checks.of_attacks(ATTACKS, members, controls, base, target, np.random.default_rng(1))
    assert [check.kind for check in out] == ["positive", "negative"] * (len(ATTACKS) + 1) + ["blind"]
    assert all(check.passed for check in out)


def test_blind_attacker_sees_controls_of_another_population(scene):
    members, controls, base, target = scene
    elsewhere = Records(x=controls.x + np.float32(1.0), label=controls.label)
    out = checks.of_attacks(ATTACKS, members, elsewhere, base, target, np.random.default_rng(1))
    assert [check.passed for check in out if check.kind == "blind"] == [False]


def test_attack_that_sees_nothing_fails_its_positive_control(scene):
    members, controls, base, target = scene
    deaf = {"deaf": lambda people, *_: np.zeros(len(people))}
    positive, negative, *_ = checks.of_attacks(deaf, members, controls, base, target, np.random.default_rng(1))
    assert not positive.passed
    assert negative.passed


def test_attack_that_knows_the_answer_fails_its_negative_control(scene):
    members, controls, base, target = scene
    cheat = {"cheat": lambda people, *_: np.full(len(people), float(len(people) == len(members)))}
    positive, negative, *_ = checks.of_attacks(cheat, members, controls, base, target, np.random.default_rng(1))
    assert positive.passed
    assert not negative.passed


def test_blind_attacker_is_judged_on_donors_it_did_not_learn_from(draw):
    """A donor's ten identical rows in both halves would be recognised; 20 + 20 donors, seed fixed."""
    rng = np.random.default_rng(2)
    whole = draw(40, rng, genes=30)
    members, controls = (
        Records(x=np.repeat(half.x, 10, 0), label=np.repeat(half.label, 10), donor=np.repeat(np.arange(20), 10))
        for half in (whole.rows(np.arange(20)), whole.rows(np.arange(20, 40)))
    )
    inside, outside = checks.blind_scores(members, controls, rng)
    assert len(inside) == len(outside) == 10
    assert abs((inside[:, None] > outside).mean() - 0.5) < 0.35
