from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgenome.audit.shadows import draws
from fedgenome.audit.shadows.batches import batches
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.errors import SpecError


@given(st.integers(5, 60), st.integers(11, 40), st.sampled_from(["1/2", "2/3", "3/5", "4/5", "1/5"]), st.integers(0, 9))
def test_everyone_is_inside_equally_many_models_of_every_group(people, shadows, part, seed):
    part = Fraction(part)
    inside, group = draws.inside(people, shadows, part, np.random.default_rng(seed))
    assert shadows <= len(inside) == len(group) < shadows + part.denominator
    for each in np.unique(group):
        assert (inside[group == each].sum(0) == part.numerator).all()
    assert np.ptp(inside.sum(1)) <= part.numerator
    assert inside.sum(1).mean() == pytest.approx(part * people)


def test_groups_are_drawn_afresh():
    """Two halves of 400 people agree on 200, give or take 10: within four standard deviations for 28 pairs."""
    inside, _ = draws.inside(400, 16, Fraction(1, 2), np.random.default_rng(1))
    agree = [(inside[a] == inside[b]).sum() for a in range(0, 16, 2) for b in range(0, a, 2)]
    assert max(abs(n - 200) for n in agree) < 4 * 10


def test_one_group_is_refused():
    with pytest.raises(SpecError, match="two groups"):
        draws.inside(10, 2, Fraction(1, 2), np.random.default_rng(1))


def test_shuffled_batches_hold_every_row_once_before_any_comes_again():
    recipe = Recipe(steps=6, batch=5)
    rows = np.arange(100, 115)
    drawn = np.concatenate([index[0] for index, _ in batches([rows], recipe, [np.random.default_rng(1)])])
    assert [sorted(part) for part in np.split(drawn, 2)] == [rows.tolist()] * 2


def test_poisson_batches_are_filled_up_with_rows_of_no_weight():
    """Sizes over 2,000 steps: mean 5 and variance 15·⅓·⅔, within five standard errors."""
    recipe = Recipe(steps=2000, batch=5, sampling="poisson")
    drawn = list(batches([np.arange(15), np.arange(20, 35)], recipe, np.random.default_rng(1).spawn(2)))
    sizes = np.array([weight.sum(1) for _, weight in drawn])
    assert sizes.mean() == pytest.approx(5, abs=5 * (10 / 3 / sizes.size) ** 0.5)
    assert sizes.var() == pytest.approx(10 / 3, rel=5 * (2 / sizes.size) ** 0.5)
    assert all((index[1][weight[1] > 0] >= 20).all() for index, weight in drawn)
