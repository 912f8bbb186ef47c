"""Canaries are public, at the ends of the range, and beside donors without moving them."""

import numpy as np
import pytest
from scipy import stats

from fedgenome.cohort import canaries
from fedgenome.cohort.shard import Shard
from fedgenome.study import Schema, Vocabulary

SCHEMA = Schema(genes=tuple(f"G{i}" for i in range(100)), labels=("x", "y", "z"), low=1.0, high=6.0)


def two(names=("a", "b")):
    x = np.full((2, 100), 3.0, np.float32)
    return Shard(x=x, label=np.array([0, 2]), donor=np.arange(2), donors=names, mask=np.ones(2, bool))


def test_canaries_lie_at_both_ends_and_are_the_same_wherever_they_are_made():
    x, label = canaries.rows(SCHEMA, 0, 60)
    part, labels = canaries.rows(SCHEMA, 40, 20)
    assert (part == x[40:]).all() and (labels == label[40:]).all()
    assert set(np.unique(x)) == {1.0, 6.0} and set(label) == {0, 1, 2}
    assert abs((x == 6.0).mean() - 0.5) < 4 * 0.5 / np.sqrt(x.size)


def test_canaries_of_sequences_are_any_known_tokens_alike():
    schema = Schema(genes=tuple(map(str, range(50))), labels=("x",), high=16.0, tokens=Vocabulary(k=2))
    x, _ = canaries.rows(schema, 0, 60)
    assert (canaries.rows(schema, 40, 20)[0] == x[40:]).all() and canaries.rows(schema, 3, 0)[0].shape == (0, 50)
    p = stats.chisquare(np.bincount(x.astype(int).ravel(), minlength=16)).pvalue  # false alarm 1e-4
    assert 5e-5 < p < 1 - 5e-5 and x.max() == 15


def test_those_who_are_out_are_held_and_people_stay_as_they_were():
    planted = np.array([True, False, True])
    whole = canaries.beside(two(), SCHEMA, 3, planted)
    assert whole.canary.tolist() == [-1, -1, 3, 4, 5]
    assert whole.held.tolist() == [False, False, False, True, False]
    assert whole.trained_on.canary.tolist() == [-1, -1, 3, 5]
    assert (whole.x[:2] == two().x).all() and whole.donors[:2] == ("a", "b")


def test_a_donor_who_is_called_like_a_canary_is_none():
    whole = canaries.beside(two(("a", "canary 3")), SCHEMA, 3, np.ones(2, bool))
    assert whole.canary.tolist() == [-1, -1, 3, 4] and len(set(whole.donors)) == 4


@pytest.mark.parametrize("count", [0, 1])
def test_few_or_none_are_no_matter(count):
    assert canaries.beside(two(), SCHEMA, 0, np.ones(count, bool)).n_donors == 2 + count
