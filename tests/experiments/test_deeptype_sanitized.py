"""The study of DeepType's sanitized and generated rows: whose noise is whose, and what lines are compared by."""

import numpy as np
import pytest

from experiments.deeptype import generated, people, pooled, sanitized
from experiments.deeptype.people import GROUP
from experiments.deeptype.sanitized import Arm, Cell
from fedgenome.study import Sanitize

NOISED = Sanitize(kind="metric", keep=20, epsilon=50)


@pytest.fixture(scope="module")
def who():
    return people.simulated(genes=40, people=300)


def tables(who, **arm):
    return list(sanitized._tables(who, Cell(cohort="simulated", arm=Arm(name="any", **arm), groups=3)))


def test_a_group_has_one_table_and_every_group_its_own_unless_the_table_is_known(who):
    first, second, third = tables(who, spec=NOISED)
    assert not np.allclose(first, second) and not np.allclose(second, third)
    assert all((table == first).all() for table in tables(who, spec=NOISED, known=True))
    assert all((table == who.x).all() for table in tables(who))


def test_a_cell_is_another_one_for_every_setting():
    arms = [*sanitized.arms("metabric"), *sanitized.arms("simulated", quick=True)]
    cells = [Cell(cohort="metabric", arm=arm, groups=groups) for arm in arms for groups in (2, 3)]
    assert len({cell.key for cell in cells}) == len(cells)


def test_a_line_says_both_accuracies_both_threats_and_an_epsilon_that_is_not_of_a_donor(monkeypatch):
    monkeypatch.setattr(sanitized, "QUICK", (300, 40, 2))
    arm = Arm(name="metric", spec=NOISED, epochs=2)
    found = sanitized.run(Cell(cohort="simulated", arm=arm, groups=2, quick=True))
    row = found["row"]
    assert len(found["right"]) == 300 and set(found["right"]) <= set("012")
    assert row[sanitized.SCALE] == 50 and row["epsilon × diameter"] == pytest.approx(50 * 40**0.5, rel=1e-2)
    assert "epsilon" not in row and row["K"] == 20
    for name in ("accuracy", "accuracy on sanitized records", "AUC", "verdict"):
        assert any(name in column for column in row)
    assert row["any AUC"] != row["sanitized queries: any AUC"]


def test_lines_are_compared_by_person():
    rng = np.random.default_rng(1)
    one, other = rng.binomial(3, 0.8, 400), rng.binomial(3, 0.6, 400)
    told = [{"row": {"groups": 3}, "right": "".join(map(str, each))} for each in (one, other)]
    apart = sanitized._apart("less", *told)
    assert apart["accuracy less"] == pytest.approx((one - other).mean() / 3, abs=1e-4)
    assert apart["accuracy less low"] < 0.2 < apart["accuracy less high"]
    assert sanitized._apart("less", told[0], told[0])["accuracy less high"] == 0


@pytest.mark.parametrize("method", generated.METHODS)
def test_a_table_is_made_of_the_people_whom_its_model_may_see(who, method):
    cell, own = generated.Cell(method=method, epsilon=3.0), who.inside(1, 0)[0]
    others = people.People(
        name=who.name, x=np.where(own[:, None], who.x, 0), label=who.label, owner=who.owner, schema=who.schema
    )
    first, second = (generated.drawn(each, own, cell, seed=1) for each in (who, others))
    assert len(first) == own.sum() and (first.x == second.x).all() and (first.label == second.label).all()
    assert 0 <= first.x.min() < first.x.max() <= 1


def test_of_tables_those_are_judged_who_are_no_attackers_own_people():
    rng = np.random.default_rng(2)
    inside = people.simulated(genes=4, people=300).inside(2, 0)
    outside = ~inside & (rng.random(inside.shape) < 0.67)
    scores = rng.standard_normal(inside.shape) + inside
    strange = np.where(inside | outside, scores, 99)  # what is said of the attacker's own people
    row = generated._columns({"one": scores}, inside, outside)
    assert row == generated._columns({"one": strange}, inside, outside)
    assert row["any AUC low"] > 0.5 and row["advantage low"] > 0
    leaky = pooled.advantage(scores[:GROUP], inside[:GROUP], 0.5).estimate
    assert row["advantage"] == pytest.approx(leaky, abs=0.1)


def test_an_epsilon_bounds_what_hits_exceed_false_alarms_by():
    assert generated._most(0.0) == pytest.approx(generated.DELTA)
    assert generated._most(1.0) == pytest.approx(np.tanh(0.5), abs=1e-4)
