"""Near-copies: level under permuted membership, power of two copies in a hundred rows, what k copies allow."""

import numpy as np
import pytest

from fedgenome.audit.near_copies import near_copies, tail_rows
from fedgenome.audit.targets import Records, Target, independent

GENES = 30


def _target(table):
    return Target(table=table, samples=table)


def _line(*x, donor=None):
    label = np.zeros(len(x), int)
    return Records(x=np.array(x, float)[:, None], label=label, donor=None if donor is None else np.array(donor))


def _scene(draw, seed, copies, noise):
    """300 members, 300 controls; 1,000 rows over disjoint people of which the first are near-copies of members."""
    rng = np.random.default_rng(seed)
    members, controls, elsewhere = (draw(n, rng, genes=GENES) for n in (300, 300, 200))
    table = independent(elsewhere, 1000, rng)
    table.x[:copies] = members.x[:copies] + rng.normal(0, noise, (copies, GENES))
    return members, controls, _target(table)


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_two_near_copies_in_a_hundred_rows_are_caught(draw, noise):
    found = near_copies(*_scene(draw, 1, copies=20, noise=noise))
    assert found.rows == found.people == found.members == 20
    assert found.p_value == found.best_p_value < 0.5**20 < 1e-3


def test_a_table_over_other_people_is_at_chance(draw):
    found = near_copies(*_scene(draw, 1, copies=0, noise=0.0))
    assert found.p_value > 0.05 and found.share.low < found.chance == 0.5 < found.share.high


def _small(draw, change, repetitions):
    """Share of p-values below .1 under permuted membership; each person has two rows that are alike."""
    rng, small = np.random.default_rng(7), []
    people, table = draw(80, rng), draw(300, rng)
    for _ in range(repetitions):
        inside, outside = np.split(rng.permutation(80), [50])
        members, controls = (
            Records(x=np.repeat(people.x[who], 2, 0), label=np.repeat(people.label[who], 2), donor=np.repeat(who, 2))
            for who in (inside, outside)
        )
        small.append(near_copies(members, controls, _target(change(table, members))).p_value < 0.1)
    return np.mean(small)


def test_p_is_small_no_oftener_than_it_says(draw, copying):
    """400 repetitions, nominal 10 %: at most 10 % + 2 standard errors; copies of one member in four must fail."""
    most = 0.1 + 2 * (0.1 * 0.9 / 400) ** 0.5
    assert _small(draw, lambda table, members: table, 400) <= most
    assert _small(draw, lambda table, members: copying(table, members, 0.25), 50) > most


def test_rows_of_one_person_and_copies_of_one_person_count_once():
    members, controls = _line(0.0, 0.01, 5.0, donor=[3, 3, 4]), _line(9.0, 20.0)
    found = near_copies(members, controls, _target(_line(0.0, 0.0, 0.0, 8.9)))
    assert (found.rows, found.people, found.members) == (4, 2, 1)


def test_a_row_between_two_people_and_one_that_both_groups_hold_tell_nothing():
    found = near_copies(_line(0.0, 4.0), _line(4.0, 2.0), _target(_line(1.0, 4.0)))
    assert (found.people, found.p_value, found.best_p_value) == (0, 1, 1)
    assert (found.share.low, found.share.high) == (0, 1)


def test_order_of_people_does_not_matter(draw):
    rng = np.random.default_rng(0)
    members, controls, table = draw(40, rng), draw(30, rng), draw(200, rng)
    turned = [each.rows(np.arange(len(each))[::-1]) for each in (members, controls)]
    assert near_copies(members, controls, _target(table)) == near_copies(*turned, _target(table))


@pytest.mark.parametrize(("given", "rows"), [((1000, 300, 300), 20), ((1000, 560, 94), 45), ((30, 560, 94), 30)])
def test_the_tail_is_a_fixed_share_or_what_a_small_p_takes(given, rows):
    assert tail_rows(*given) == rows


def test_best_p_is_what_all_members_would_give_and_at_most_the_power(draw):
    rng = np.random.default_rng(0)
    found = near_copies(draw(56, rng), draw(14, rng), _target(draw(40, rng)))
    rest = range(found.people)
    assert found.best_p_value == pytest.approx(np.prod([(56 - i) / (70 - i) for i in rest]))
    assert found.best_p_value <= 0.8**found.people


def test_twenty_copies_beside_few_controls_can_prove_nothing():
    members, controls = np.arange(560.0), 1000 + np.arange(94.0)
    table = _line(*members[:45] + 0.1)
    found = near_copies(_line(*members), _line(*controls), _target(table.rows(np.arange(20))))
    assert found.members == 20 and 0.04 < found.p_value == found.best_p_value < (560 / 654) ** 20
    assert near_copies(_line(*members), _line(*controls), _target(table)).p_value < 1e-3
