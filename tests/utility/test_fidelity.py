import numpy as np
import pytest
from scipy import stats

from fedgenome.errors import SpecError
from fedgenome.utility import fidelity


def test_a_table_does_not_differ_from_itself_in_another_order():
    x = np.random.default_rng(0).random((50, 4))
    seen = fidelity.compare(x[::-1], x)
    assert (seen.wasserstein, seen.correlation) == pytest.approx((0, 0))


def test_shift_of_one_gene_is_its_wasserstein_distance():
    x = np.random.default_rng(0).random((50, 4))
    seen = fidelity.compare(x + np.array([0, 0, 2, 0]), x)
    assert (seen.wasserstein, seen.worst, seen.worst_gene) == pytest.approx((0.5, 2, 2))
    assert seen.correlation == pytest.approx(0)


def test_wasserstein_is_the_area_between_the_quantile_functions():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, (40, 1)), rng.normal(0.3, 2, (40, 1))
    expected = np.abs(np.sort(a[:, 0]) - np.sort(b[:, 0])).mean()
    assert fidelity.compare(a, b).wasserstein == pytest.approx(expected)


def test_correlation_difference_is_the_mean_over_pairs():
    rng = np.random.default_rng(2)
    a, b = rng.random((30, 5)) @ rng.random((5, 5)), rng.random((20, 5))
    pairs = [(i, j) for i in range(5) for j in range(i)]
    expected = np.mean([abs(stats.pearsonr(*a.T[[i, j]])[0] - stats.pearsonr(*b.T[[i, j]])[0]) for i, j in pairs])
    assert fidelity.correlation_difference(a, b) == pytest.approx(expected)


def test_independent_genes_lose_a_perfect_correlation():
    rng = np.random.default_rng(3)
    one = rng.random((4000, 1))
    assert fidelity.correlation_difference(rng.random((4000, 2)), one.repeat(2, 1)) == pytest.approx(1, abs=0.06)


def test_constant_genes_are_uncorrelated_whatever_the_rounding():
    x = np.random.default_rng(4).random((30, 3))
    x[:, 0] = 0.1  # thirty times 0.1 has a mean that is not 0.1
    assert fidelity.correlation_difference(x, np.zeros((5, 3))) == pytest.approx(
        2 * abs(np.corrcoef(x[:, 1], x[:, 2])[0, 1]) / 6
    )
    assert fidelity.correlation_difference(x[:, :1], x[:, :1]) == 0


def test_many_genes_are_compared_on_an_even_subset(monkeypatch):
    rng = np.random.default_rng(5)
    a, b = rng.random((30, 9)), rng.random((30, 9))
    monkeypatch.setattr(fidelity, "_MOST_GENES", 3)
    subset = fidelity.correlation_difference(a, b)
    assert subset == pytest.approx(fidelity.correlation_difference(a[:, [0, 4, 8]], b[:, [0, 4, 8]]))


def test_tables_of_other_genes_are_refused():
    with pytest.raises(SpecError, match="the same genes, got table=2, real=3"):
        fidelity.compare(np.zeros((4, 2)), np.zeros((4, 3)))
