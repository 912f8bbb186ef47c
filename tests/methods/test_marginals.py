"""Tables: what a donor adds, what is learned from noisy ones, what is drawn from them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from fedgenome.cohort.shard import Shard
from fedgenome.methods import marginals
from fedgenome.methods.marginals import Marginals
from fedgenome.study import Schema

SCHEMA = Schema(genes=("A", "B", "C"), labels=("x", "y"), high=6.0)
EDGES = (0.0, 1.5, 3.0)
METHOD = Marginals(name="tables", schema=SCHEMA, edges=EDGES, weight=2.0, factor=1.0, private=True, noise=1.0)
CELLS = (2, 3, 4)


def cohort(rows=200, seed=0, rows_each=1):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random((rows, 3)) < 0.4, 0, rng.uniform(0, 6, (rows, 3))).astype(np.float32)
    donor = np.arange(rows) // rows_each
    names = tuple(map(str, range(donor[-1] + 1)))
    return Shard(x=x, label=rng.integers(0, 2, rows), donor=donor, donors=names, mask=np.ones(rows, bool))


def ask(method=METHOD):
    return method.ask(method.start(np.random.default_rng(0)))


def learned(total, method=METHOD):
    state = method.start(np.random.default_rng(0))
    return method.release(method.learn(state, method.ask(state), total))


def counted(shard):
    """Count one row at a time: the oracle."""
    labels, tables = np.zeros(2), np.zeros(CELLS)
    for x, label, donor, live in zip(shard.x, shard.label, shard.donor, shard.mask, strict=True):
        share = live / max(1, (shard.mask & (shard.donor == donor)).sum())
        labels[label] += 2.0 * share
        for gene, value in enumerate(x):
            if np.isfinite(value):
                tables[label, gene, sum(value > edge for edge in EDGES)] += share
    return np.concatenate([labels, tables.ravel()])


@pytest.mark.parametrize("rows_each", [1, 3])
def test_answer_counts_what_a_loop_counts(rows_each):
    shard = cohort(60, rows_each=rows_each).without(4)
    np.testing.assert_allclose(METHOD.answer(ask(), shard, None).value, counted(shard), rtol=1e-6)


def test_missing_value_is_in_no_bin_and_its_row_still_counts():
    whole = cohort(20)
    x = whole.x.copy()
    x[3, 1] = np.nan
    holed = Shard(x=x, label=whole.label, donor=whole.donor, donors=whole.donors, mask=whole.mask)
    lost = METHOD.answer(ask(), whole, None).value - METHOD.answer(ask(), holed, None).value
    assert np.isclose(lost.sum(), 1) and np.count_nonzero(lost > 0.5) == 1


def test_whole_row_meets_the_bound_exactly():
    one = METHOD.answer(ask(), cohort(1), None).value
    assert np.isclose(np.linalg.norm(one), np.sqrt(3 + 2.0**2), rtol=1e-8)
    assert METHOD.bound == np.sqrt(7)


@pytest.mark.parametrize(
    ("value", "bin_"), [(0, 0), (1e-6, 1), (1.5, 1), (1.50001, 2), (3, 2), (6, 3), (7, 3), (-1, 0)]
)
def test_bins_hold_their_upper_edge_and_the_first_one_low_only(value, bin_):
    shard = Shard(
        x=np.full((1, 3), value, np.float32),
        label=np.zeros(1, int),
        donor=np.zeros(1, int),
        donors=("a",),
        mask=np.ones(1, bool),
    )
    tables = METHOD.answer(ask(), shard, None).value[2:].reshape(CELLS)
    assert (tables[0].argmax(1) == bin_).all()


def test_without_noise_the_release_holds_the_empirical_tables():
    shard = cohort(300)
    bare = Marginals(name="t", schema=SCHEMA, edges=EDGES, weight=2.0, factor=1.0, private=False)
    arrays = learned(bare.answer(ask(bare), shard, None).value, bare)
    right = counted(shard)[2:].reshape(CELLS)
    sizes = np.bincount(shard.label)
    np.testing.assert_allclose(arrays["label_weights"], sizes / 300, atol=1e-6)
    np.testing.assert_allclose(arrays["tables"], right / sizes[:, None, None], atol=1e-6)


def errors(seed, shrink=True):
    """Return the table error of the fit, and of plain division, on tables of 20 genes with noise of sd 8."""
    rng = np.random.default_rng(seed)
    pooled = rng.dirichlet(np.ones(5), 20)
    right = np.array([0.85 * pooled + 0.15 * rng.dirichlet(np.ones(5), 20) for _ in range(4)])
    sizes = np.array([150.0, 60, 30, 10])
    noisy = sizes[:, None, None] * right + rng.normal(0, 8, right.shape)
    _, fitted = marginals.fit(noisy, sizes + rng.normal(0, 8, 4), 1.0, 8.0 if shrink else None)
    return np.abs(fitted - right).sum(2).mean()


def test_shrinkage_lowers_the_error_of_noisy_tables():
    # 20 paired seeds; a shrinkage that does nothing wins half: P(20 of 20) = 1e-6.
    assert all(errors(seed) < errors(seed, shrink=False) for seed in range(20))


def test_label_sizes_average_both_estimates_by_inverse_variance():
    # sd 1 a cell, weight 2, 12 genes of 3 bins: precisions 4 and 12 / 3; the mean of both has variance 1 / 8.
    rng = np.random.default_rng(2)
    drawn = [
        marginals._sizes(50 / 3 + rng.normal(0, 1, (4, 12, 3)), 50 + rng.normal(0, 1, 4) / 2, 2.0) for _ in range(2000)
    ]
    # 8000 squares: relative sd sqrt(2 / 8000) = .016; six of them either side. One estimate alone has twice 1 / 8.
    assert abs(np.var(drawn) * 8 - 1) < 0.1
    assert abs(np.mean(drawn) - 50) < 6 * np.sqrt(1 / 8 / 8000)


def test_noise_is_estimated_from_the_row_totals():
    rng = np.random.default_rng(3)
    tables = 40 + rng.normal(0, 5, (10, 50, 5))
    # 490 degrees of freedom: relative sd .064; four of them. Variances of sd 4 or 6 lie outside.
    assert abs(marginals._noise_variance(tables) / 25 - 1) < 0.26


@given(hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.floats(-50, 50)))
def test_projection_is_the_nearest_point_of_the_simplex(rows):
    projected = marginals._simplex(rows)
    assert (projected >= 0).all()
    np.testing.assert_allclose(projected.sum(1), 1, atol=1e-9)
    # Optimal iff no vertex lies on the far side: (row - projected)·(vertex - projected) <= 0.
    gap = rows - projected
    assert (gap - (gap * projected).sum(1, keepdims=True) <= 1e-9).all()


ARRAYS = {
    "tables": np.array([[[0.5, 0.2, 0.2, 0.1]] * 3, [[0, 0, 0.3, 0.7]] * 3]),
    "label_weights": np.array([0.25, 0.75]),
    "edges": np.array(EDGES),
}


def drawn(label, n=20_000, seed=0):
    return METHOD.sample(ARRAYS, np.full(n, label), np.random.default_rng(seed))


@pytest.mark.parametrize("label", [0, 1])
def test_drawn_values_fall_into_bins_as_often_as_the_tables_say(label):
    seen = np.searchsorted(EDGES, drawn(label)[:, 0])
    counts = np.bincount(seen, minlength=4)
    right = ARRAYS["tables"][label, 0]
    kept = right > 0
    assert not counts[~kept].any()
    assert stats.chisquare(counts[kept], 20_000 * right[kept]).pvalue > 1e-4
    skewed = right[kept] * (1 + 0.2 * np.arange(kept.sum()))
    assert stats.chisquare(counts[kept], 20_000 * skewed / skewed.sum()).pvalue < 1e-6  # it can fail


def test_first_bin_gives_low_exactly_and_others_never():
    values = drawn(0)
    assert abs((values == 0).mean() - 0.5) < 0.01
    assert not (drawn(1) == 0).any()


def density(x):
    """Density of label 0 in (0, 1.5]: from 0 to the mean of the densities .2/1.5 on both sides."""
    return (x / 1.5) ** 2


def test_values_within_a_bin_follow_the_line_between_its_neighbours():
    values = drawn(0)[:, 1]
    inside = values[(values > 0) & (values <= 1.5)]
    assert stats.kstest(inside, density).pvalue > 1e-4
    assert stats.kstest(inside, stats.uniform(0, 1.5).cdf).pvalue < 1e-6  # rejects uniform smoothing


def test_genes_are_drawn_independently_given_the_label():
    correlation = np.corrcoef(drawn(0).T)[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(20_000)


def test_rows_do_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch):
    whole = drawn(0, n=50)
    monkeypatch.setattr(marginals, "_CHUNK", 60)
    np.testing.assert_array_equal(drawn(0, n=50), whole)


@pytest.mark.parametrize("edges", [(0.0,), (0.0, 2.0)])
def test_one_or_two_edges_make_a_working_method(edges):
    method = Marginals(name="t", schema=SCHEMA, edges=edges, weight=1.0, factor=1.0, private=True, noise=1.0)
    total = method.answer(ask(method), cohort(), None).value + np.random.default_rng(0).normal(0, 2, ask(method).length)
    rows = method.sample(learned(total, method), np.array([0, 1]), np.random.default_rng(0))
    assert rows.shape == (2, 3)


def test_missing_label_does_not_disturb_the_others():
    shard = cohort(200)
    only = Shard(x=shard.x, label=np.zeros(200, int), donor=shard.donor, donors=shard.donors, mask=shard.mask)
    arrays = learned(METHOD.answer(ask(), only, None).value)
    np.testing.assert_allclose(arrays["label_weights"], [1, 0], atol=1e-6)
    for table in itertools.chain(*arrays["tables"]):
        assert np.isclose(table.sum(), 1)
