"""Scores in levels: the sum of the right variants, levels by public facts, and a cap that no matcher passes."""

from dataclasses import replace

import numpy as np
import pytest

from fedgenome.errors import SpecError
from fedgenome.methods import frequencies, polygenic
from fedgenome.methods.polygenic import Score

P = np.random.default_rng(0).uniform(0.1, 0.5, 40)
SCORE = Score(columns=np.arange(0, 40, 2), weights=np.random.default_rng(1).normal(size=20), frequencies=P[::2])


def people(n, seed):
    return np.random.default_rng(seed).binomial(2, P, (n, 40)).astype(np.int8)


def test_a_score_is_the_weighted_sum_and_what_is_missing_counts_as_expected():
    x = people(30, 2).astype(float)
    right = [sum(w * row[at] for at, w in zip(SCORE.columns, SCORE.weights, strict=True)) for row in x]
    np.testing.assert_allclose(polygenic.values(SCORE, x), right)
    for missing in (-1, np.nan):
        x[:, 4] = missing
        filled = np.where(np.arange(40) == 4, 2 * P[4], x)
        np.testing.assert_allclose(polygenic.values(SCORE, x), polygenic.values(SCORE, filled))


def test_levels_hold_about_as_many_people_each_and_are_cut_without_them():
    levels = polygenic.levels_of(polygenic.values(SCORE, people(8000, 3)), polygenic.cuts(SCORE, 8))
    counts = np.bincount(levels, minlength=8) / 8000
    assert len(counts) == 8 and np.abs(counts - 1 / 8).max() < 0.02  # five standard errors; normal but for 20 variants
    shifted = replace(SCORE, frequencies=np.clip(SCORE.frequencies + 0.2, 0, 1))
    other = np.bincount(polygenic.levels_of(polygenic.values(SCORE, people(8000, 3)), polygenic.cuts(shifted, 8)))
    assert np.abs(other / 8000 - 1 / 8).max() > 0.04


def test_the_variants_of_a_table_that_differ_most_surely_are_taken_with_their_odds():
    rng = np.random.default_rng(4)
    noise = {"noise": np.array([1.0, 2.0])}
    arrays = {"counts": np.array([100.0, 120.0]), "sums": rng.uniform(-80, 80, (2, 12))} | noise
    found = frequencies.associations(arrays, 0)
    score = polygenic.associated(found, 3)
    assert set(score.columns) == set(np.argsort(found.p_values)[:3])
    np.testing.assert_array_equal(score.weights, found.log_odds[score.columns])


def found_by_best(released, prior):
    """Return the share of people that the best of all matchers finds: for each release its likeliest candidate."""
    return sum(prior[(released == one).all(1)].max() for one in np.unique(released, axis=0))


@pytest.mark.parametrize("scores", [1, 2, 3])
def test_no_matcher_finds_more_than_the_cap_and_with_several_scores_one_cap_is_passed(scores):
    n, levels = 400, 4
    x, rng = people(n, 5), np.random.default_rng(6)
    each = [replace(SCORE, weights=rng.normal(size=20)) for _ in range(scores)]
    cut = [polygenic.levels_of(polygenic.values(one, x), polygenic.cuts(one, levels)) for one in each]
    share = found_by_best(np.stack(cut, axis=1), np.full(n, 1 / n))
    assert share <= polygenic.cap([levels] * scores, n)
    assert (share > polygenic.cap([levels], n)) == (scores > 1)  # the twin that forgets to multiply
    exact = found_by_best(polygenic.values(SCORE, x)[:, None], np.full(n, 1 / n))
    assert exact > 0.9  # an unrounded score has nearly as many values as there are people


def test_scores_together_are_warned_of_where_one_alone_is_not():
    assert polygenic.warning([8], 1000) == ""
    said = polygenic.warning([8, 8], 1000)
    assert said.startswith("8 · 8 levels among 1,000 people: up to 6.4% can be found") and "multiply" in said
    assert "multiply" not in polygenic.warning([100], 1000)


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"columns": np.array([1, 1]), "weights": np.ones(2), "frequencies": np.ones(2)}, "every variant once"),
        ({"columns": np.array([1]), "weights": np.ones(2), "frequencies": np.ones(2)}, "a weight and a frequency"),
        ({"columns": np.array([1]), "weights": np.array([np.nan]), "frequencies": np.ones(1)}, "finite weights"),
        ({"columns": np.array([1]), "weights": np.ones(1), "frequencies": np.array([1.2])}, "within 0 and 1"),
    ],
)
def test_a_score_that_is_none_is_refused(broken, rule):
    with pytest.raises(SpecError, match=rule):
        Score(**broken)


def test_what_cannot_be_cut_is_refused():
    flat = replace(SCORE, frequencies=np.zeros(20))
    with pytest.raises(SpecError, match="a variant that varies"):
        polygenic.cuts(flat, 4)
    with pytest.raises(SpecError, match="levels >= 2"):
        polygenic.cuts(SCORE, 1)
    with pytest.raises(SpecError, match="ends that rise"):
        polygenic.levels_of(np.zeros(3), np.array([1.0, 1.0]))
