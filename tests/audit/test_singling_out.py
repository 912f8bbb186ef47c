"""Singling out: predicates that isolate a table's rows, level under permuted membership, power of copies."""

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit import singling_out
from fedgenome.audit.bounds import effects
from fedgenome.audit.singling_out import predicates, singled_out
from fedgenome.audit.targets import Records, Target, joined, scaled

find = singling_out.singling_out


def _target(table):
    return Target(table=table, samples=table)


def _line(*x, donor=None):
    label = np.zeros(len(x), int)
    return Records(x=np.array(x, float)[:, None], label=label, donor=None if donor is None else np.array(donor))


@pytest.fixture
def cohort(draw):
    """``cohort(n, …)``: so many people each, of 30 genes between 0 and 1."""
    rng = np.random.default_rng(1)
    return lambda *sizes: [scaled(draw(n, rng, genes=30), 0.0, 8.0) for n in sizes]


def test_a_predicate_holds_of_its_row_and_of_no_other_and_needs_its_last_gene(cohort):
    (table,) = cohort(80)
    for at, each in enumerate(predicates(table.x)):
        assert np.flatnonzero(each.holds(table.x)).tolist() == [at]
        shorter = singling_out.Predicate(gene=each.gene[:-1], sign=each.sign[:-1], bound=each.bound[:-1])
        assert shorter.holds(table.x).sum() > 1


def test_a_predicates_genes_are_its_rows_most_extreme_ones(cohort):
    (table,) = cohort(80)
    ranks = stats.rankdata(table.x, axis=0, method="max"), stats.rankdata(-table.x, axis=0, method="max")
    for at, each in enumerate(predicates(table.x)):
        outer = np.minimum(*(rank[at] for rank in ranks))
        assert sorted(outer[each.gene]) == sorted(outer)[: len(each.gene)]
        assert (each.sign == np.where(ranks[1][at] <= ranks[0][at], 1, -1)[each.gene]).all()


def test_copies_of_members_single_them_out_and_are_found(cohort, copying):
    members, controls, table = cohort(200, 100, 300)
    found = find(members, controls, _target(copying(table, members, 0.5)))
    assert found.vector == "singling-out" and found.p_value < 1e-6 and found.low > 0.2
    free = find(members, controls, _target(table))
    assert free.p_value > 0.05 and free.low == 0


def test_estimate_is_the_residual_risk_and_p_is_hypergeometric(cohort, copying):
    members, controls, table = cohort(120, 60, 100)
    target = _target(copying(table, members, 0.3))
    alone = singled_out(joined(members, controls), target.table)
    k = alone[:120].sum()
    inside, outside = k / 120, alone[120:].mean()
    found = find(members, controls, target, effects.tails_for(4))
    assert 0 < outside < inside and found.estimate == pytest.approx((inside - outside) / (1 - outside))
    assert found.p_value == pytest.approx(stats.hypergeom.sf(k - 1, 180, 120, alone.sum()))
    assert found.tails == effects.tails_for(4)


def _small(cohort, change, repetitions):
    """Share of p-values below .1 under permuted membership; each person has two rows that are alike."""
    rng = np.random.default_rng(7)
    people, table = cohort(80, 30)
    small = []
    for _ in range(repetitions):
        inside, outside = (np.repeat(part, 2) for part in np.split(rng.permutation(80), [50]))
        members, controls = (Records(x=people.x[who], label=people.label[who], donor=who) for who in (inside, outside))
        small.append(find(members, controls, _target(change(table, people.of(inside)))).p_value < 0.1)
    return np.mean(small)


def test_p_is_small_no_oftener_than_it_says(cohort, copying):
    """150 repetitions, nominal 10 %: at most 10 % + 2 standard errors; a table that copies members must fail."""
    most = 0.1 + 2 * (0.1 * 0.9 / 150) ** 0.5
    assert _small(cohort, lambda table, members: table, 150) <= most
    assert _small(cohort, lambda table, members: copying(table, members, 0.5), 15) > most


def test_who_shares_a_predicate_is_not_singled_out_and_rows_of_one_person_are_one():
    table = _line(0.0, 0.2, 0.4, 1.0)  # at most .05, …, at least .95
    people = _line(0.01, 0.6, 0.02, 0.97, 0.5, donor=[3, 5, 3, 6, 4])
    assert singled_out(people, table).tolist() == [True, False, False, True]
    assert singled_out(joined(people, _line(0.97, 0.0)), table).tolist() == [False] * 6
    assert not singled_out(_line(0.3, 0.4, 0.5), table).any()


def test_a_long_table_makes_so_many_predicates_and_equal_rows_the_same_one(cohort, monkeypatch):
    (table,) = cohort(50)
    monkeypatch.setattr(singling_out, "PREDICATES", 7)
    assert len(list(predicates(table.x))) == 7
    twice = np.repeat(table.x[:2], 3, 0)
    made = list(predicates(twice))
    assert len(made) == 6 and all(len(each.gene) == singling_out.MOST for each in made)
    assert {each.holds(table.x).tobytes() for each in made} == {row.tobytes() for row in np.eye(2, 50, dtype=bool)}
