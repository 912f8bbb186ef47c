import numpy as np
import pytest

from fedgenome.audit.attribute import inferred, split_genes
from fedgenome.audit.targets import Records, Target


def _target(table):
    return Target(table=table, samples=table)


@pytest.fixture
def scene(draw):
    rng = np.random.default_rng(3)
    return draw(30, rng, genes=9), draw(60, rng, genes=9), draw(15, rng, genes=9)


def test_score_compares_errors_of_the_rows_nearest_by_the_known_genes(scene):
    people, table, base = scene
    secret, known = split_genes(9)
    expected = []
    for row in people.x.astype(float):
        nearest = [min(rows.x, key=lambda one: ((one - row)[known] ** 2).sum()) for rows in (table, base)]
        by_table, by_base = (np.abs(row - one)[secret].mean() for one in nearest)
        expected.append((by_base - by_table) / (by_base + by_table))
    assert inferred(people, _target(table), base) == pytest.approx(expected, abs=1e-6)


def test_a_copy_is_guessed_and_a_table_that_is_the_base_guesses_no_better(scene):
    people, table, base = scene
    assert (inferred(table, _target(table), base) == 1).all()
    assert (inferred(base, _target(table), base) == -1).all()
    assert not inferred(people, _target(base), base).any()


def test_secret_genes_play_no_part_in_who_is_nearest(scene):
    people, table, base = scene
    secret, _ = split_genes(9)
    other = Records(x=people.x.copy(), label=people.label)
    other.x[:, secret] = table.x[:30][:, secret]
    moved = Records(x=table.x.copy(), label=table.label)
    moved.x[:, secret] = 7.0
    exact = inferred(other, _target(moved), base)
    assert ((exact > -1) & (exact < 1)).all()


@pytest.mark.parametrize(("genes", "secret"), [(1, 1), (2, 1), (9, 2), (100, 25)])
def test_a_quarter_of_the_genes_is_secret_always_the_same(genes, secret):
    first, again = split_genes(genes), split_genes(genes)
    assert [part.tolist() for part in first] == [part.tolist() for part in again]
    assert len(first[0]) == secret and sorted(np.concatenate(first)) == list(range(genes))


def test_of_a_single_gene_nothing_is_known_and_nothing_said(draw):
    rng = np.random.default_rng(0)
    people, table, base = (draw(n, rng, genes=1) for n in (5, 9, 4))
    assert not inferred(people, _target(table), base).any()
