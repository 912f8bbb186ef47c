"""Bundles give each part its noise; means, directions and rows come out of noisy moments as they should."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgenome.methods import moments
from fedgenome.methods.bundle import Bundle, Part, matrix
from fedgenome.methods.factors import nystrom
from fedgenome.methods.staged import towards_mean
from fedgenome.privacy.clipping import sum_products, sum_rows, upper

PARTS = (
    Part(name="a", length=3, bound=2.0, share=0.25),
    Part(name="b", length=2, bound=50.0, share=0.5),
)
BUNDLE = Bundle(statistics=PARTS)


def test_parts_within_their_bounds_come_back_exact_and_longer_ones_clipped_alone():
    rows = {"a": np.array([[1.0, 0, 1], [9, 0, 0]]), "b": np.array([[30.0, 40], [3, 4]])}
    told = BUNDLE.parts(BUNDLE.answer(lambda at: {n: r[at] for n, r in rows.items()}, np.arange(2)).value)
    np.testing.assert_allclose(told["a"], [3, 0, 1], rtol=1e-6)
    np.testing.assert_allclose(told["b"], [33, 44], rtol=1e-6)


def test_a_parts_noise_is_that_of_a_query_of_its_own():
    # Alone: multiplier z/√share times its bound. In the bundle: multiplier z/√(all shares), bound 1, over its weight.
    for part in PARTS:
        bundled = 3.0 / math.sqrt(BUNDLE.share) / BUNDLE.weight(part)
        assert math.isclose(BUNDLE.deviation(part.name, 3.0), bundled)
        assert math.isclose(bundled, 3.0 * part.bound / math.sqrt(part.share))


def written_out(left, right):
    """Naive oracle: every row's product, of a square the upper triangle with its norm kept."""
    whole = left[:, :, None] * (left if right is None else right)[:, None, :]
    if right is not None:
        return whole.reshape(len(left), -1)
    i, j = np.triu_indices(left.shape[1])
    return whole[:, i, j] * np.where(i == j, 1, math.sqrt(2))


def test_products_add_up_to_what_their_rows_written_out_do_a_few_at_a_time_too(monkeypatch):
    rng = np.random.default_rng(0)
    left, right, square = (rng.normal(0, s, (40, k)) for s, k in ((1.2, 3), (1.2, 5), (1.7, 4)))
    left[3, 1], square[7] = np.nan, np.inf
    donor, mask = rng.integers(0, 12, 40), rng.random(40) < 0.8
    with np.errstate(invalid="ignore"):
        rows = np.hstack([written_out(left, right), written_out(square, None)])
    rows[[3, 7]] = 0
    shortened = rows * (6 / np.maximum(np.linalg.norm(rows, axis=1), 6))[:, None]  # 25 of the 40 are
    naive = sum_rows(shortened, donor, mask, 6.0).value
    for together in (2048, 7):
        monkeypatch.setattr("fedgenome.privacy.clipping._ROWS", together)
        made = sum_products(lambda at: [(left[at], right[at]), (square[at], None)], donor, mask, 6.0)
        np.testing.assert_allclose(made.value, naive, atol=1e-7)


@given(hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.floats(-9, 9)))
def test_triangles_keep_the_norm_and_come_back_as_squares(rows):
    triangle = upper(rows.T @ rows)
    np.testing.assert_allclose(np.linalg.norm(triangle), np.linalg.norm(rows.T @ rows), atol=1e-9)
    np.testing.assert_allclose(matrix(triangle, rows.shape[1]), rows.T @ rows, atol=1e-9)


def spiked(genes=60, seed=0):
    """Return loadings of two strong directions, and all variances 1."""
    loadings = np.linalg.qr(np.random.default_rng(seed).standard_normal((genes, 2)))[0] * [4.5, 3.5]
    loadings *= np.sqrt(0.8 / np.maximum((loadings**2).sum(1), 0.8))[:, None]
    return loadings, np.ones(genes)


def test_cross_moments_give_the_shared_covariance_back():
    loadings, variances = spiked()
    covariance = loadings @ loadings.T + np.diag(variances - (loadings**2).sum(1))
    onto = np.linalg.eigh(covariance)[1][:, -2:]
    found = nystrom(covariance @ onto, onto, variances, 0.0)
    assert np.abs(found @ found.T - loadings @ loadings.T).max() < 0.05


def test_cross_moments_of_nothing_but_noise_share_nothing_much():
    rng = np.random.default_rng(1)
    onto = np.linalg.qr(rng.standard_normal((60, 2)))[0]
    noisy = onto + rng.normal(0, 0.1, onto.shape)  # of genes that share nothing
    warned, unwarned = (nystrom(noisy, onto, np.ones(60), blur) for blur in (0.1, 0.0))
    assert (warned**2).sum() < 0.5 * (unwarned**2).sum()


def test_shrunk_means_are_nearer_the_true_ones_and_a_small_labels_noise_is_not_taken_for_a_mean():
    rng = np.random.default_rng(2)
    right, noise = rng.normal(0, 0.3, (3, 200)), np.array([0.2, 0.5, 9.0])
    raw = right + noise[:, None] * rng.standard_normal(right.shape)
    shrunk = moments.shrunk_means(raw, noise, np.ones(200), np.eye(200))
    assert (((shrunk - right) ** 2).sum(1) < ((raw - right) ** 2).sum(1)).all()
    assert (shrunk[2] ** 2).sum() < (right[2] ** 2).sum()


def test_without_noise_means_stay_as_they_are():
    raw = np.random.default_rng(3).standard_normal((2, 5))
    np.testing.assert_array_equal(moments.shrunk_means(raw, np.zeros(2), np.ones(5), np.eye(5)), raw)


def model():
    loadings, variances = spiked()
    means = np.random.default_rng(4).normal(0, 0.3, (2, 60))
    weights = np.array([0.5, 0.5])
    means -= weights @ means
    return moments.within(loadings, variances, means, weights), weights, variances


def test_drawn_rows_have_the_variances_of_all_labels_together():
    made, _, variances = model()
    rows = moments.draw(made, np.repeat([0, 1], 20_000), np.random.default_rng(5), mirrored=False)
    # A variance of 40,000 normal values has a relative sd of .007; six of them.
    np.testing.assert_allclose(rows.var(0), variances, atol=0.043)


@pytest.mark.parametrize(("mirrored", "off"), [(True, 0), (False, 0.01)])
def test_mirrored_rows_have_their_labels_mean_without_sampling_noise(mirrored, off):
    made, _, _ = model()
    rows = moments.draw(made, np.array([0] * 10 + [1] * 6), np.random.default_rng(6), mirrored=mirrored)
    error = max(np.abs(rows[:10].mean(0) - made.means[0]).max(), np.abs(rows[10:].mean(0) - made.means[1]).max())
    assert error < 1e-12 if mirrored else error > off


def test_values_that_differ_by_noise_alone_become_their_mean():
    noisy = 5 + np.random.default_rng(7).normal(0, 1, 2000)
    assert np.ptp(towards_mean(noisy, 1.1)) == 0
    np.testing.assert_allclose(towards_mean(noisy, 0.0), noisy)
