"""Counts from log-normalised expression: the inverse is exact, the draw has its stated moments, scanpy takes it."""

import anndata as ad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from fedgenome.cohort import counts
from fedgenome.cohort.values import COUNTS_TOTAL
from fedgenome.errors import SpecError


@given(hnp.arrays(np.int64, (5, 4), elements=st.integers(0, 3000)))
def test_rates_at_a_rows_own_size_are_its_counts(cells):
    cells[:, 0] += 1  # no row is empty
    totals = cells.sum(axis=1)
    x = np.log1p(cells * (COUNTS_TOTAL / totals[:, None]))
    assert counts.rates(x, totals) == pytest.approx(cells)


@pytest.mark.parametrize("dispersion", [0.0, 0.5])
def test_draws_have_the_stated_mean_and_variance_and_no_other(dispersion):
    drawn = counts.draw(np.full((4000, 5), 3.0), np.random.default_rng(1), dispersion)
    found = drawn.astype(np.float64).ravel()
    variance = 3.0 + dispersion * 9.0
    assert abs(found.mean() - 3.0) < 4 * np.sqrt(variance / found.size)  # false alarm 6e-5, two-sided
    spread = np.sqrt((stats.kurtosis(found) + 2) / found.size) * variance
    assert abs(found.var() - variance) < 4 * spread
    other = 3.0 + (0.25 if dispersion else 0.1) * 9.0  # the twin that the test must reject
    assert abs(found.var() - other) > 4 * spread


def test_negative_binomial_is_scipys():
    drawn = counts.draw(np.full((20_000, 1), 2.0), np.random.default_rng(2), 0.5).ravel()
    expected = (
        stats.nbinom(2, 0.5).pmf(np.arange(6)) * drawn.size
    )  # n = 1 / dispersion, p = 1 / (1 + dispersion · mean)
    seen = np.bincount(np.minimum(drawn, 6).astype(int), minlength=7)[:6]
    assert np.all(np.abs(seen - expected) < 4.5 * np.sqrt(expected))  # false alarm 4e-5


def test_a_gene_of_rate_zero_stays_zero_and_each_gene_may_have_its_dispersion():
    rate = np.tile([0.0, 2.0, 2.0], (3000, 1))
    drawn = counts.draw(rate, np.random.default_rng(3), np.array([1.0, 0.0, 2.0]))
    assert drawn.dtype == np.float32 and not drawn[:, 0].any()
    assert drawn[:, 1].var() < 3 < 7 < drawn[:, 2].var()


def test_same_state_draws_the_same_counts():
    rate = np.random.default_rng(4).random((6, 5)) * 9
    one, two = (counts.draw(rate, np.random.default_rng(5), 0.1) for _ in range(2))
    assert np.array_equal(one, two) and not np.array_equal(one, counts.draw(rate, np.random.default_rng(6), 0.1))


def test_scanpys_usual_steps_run_on_them_unchanged():
    import scanpy as sc

    rng = np.random.default_rng(7)
    x = rng.gamma(1.0, 1.0, (60, 30))
    x = np.log1p(np.expm1(x) * (1e4 / np.expm1(x).sum(axis=1, keepdims=True)))
    table = ad.AnnData(counts.draw(counts.rates(x), rng))
    sc.pp.normalize_total(table, target_sum=1e4)
    sc.pp.log1p(table)
    sc.pp.pca(table, n_comps=5)
    assert table.obsm["X_pca"].shape == (60, 5) and np.isfinite(table.obsm["X_pca"]).all()
    assert np.corrcoef(table.X.ravel(), x.ravel())[0, 1] > 0.95


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda rng: counts.rates(np.array([[9.3]])), r"log1p\(1e4\) = 9.21"),
        (lambda rng: counts.rates(np.array([[-0.1]])), "values from 0"),
        (lambda rng: counts.rates(np.array([[np.nan]])), "values from 0"),
        (lambda rng: counts.rates(np.ones((2, 2)), np.array([1.0, 0.0])), "sizes above 0"),
        (lambda rng: counts.rates(np.ones((2, 2)), np.ones(3)), "one for each row"),
        (lambda rng: counts.draw(np.array([[-1.0]]), rng), "finite rates >= 0"),
        (lambda rng: counts.draw(np.ones((1, 1)), rng, -1.0), "dispersion >= 0"),
        (lambda rng: counts.draw(np.full((1, 1), 1e9), rng), "take a smaller size"),
    ],
)
def test_what_is_beyond_its_range_is_refused(call, rule):
    with pytest.raises(SpecError, match=rule):
        call(np.random.default_rng(0))
