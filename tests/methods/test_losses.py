"""What a release says of a row: the loss of every kind, held to the formula written out."""

import numpy as np
import pytest
import torch
from scipy import stats

from fedgenome.methods import forest, margins, moments
from fedgenome.methods.base import Scored
from tests.conformance import cases

SCORED = tuple(kind for kind in cases.KINDS if kind not in ("membership", "masking"))
ROWS = cases.SHARDS["one row a donor"]


def released(kind):
    method = cases.build(kind, private=False, noise=None)
    *_, (_, state, _) = cases.walk(method, ROWS)
    return method, method.release(state)


@pytest.mark.parametrize("kind", SCORED)
def test_a_rows_loss_is_finite_its_own_and_the_same_each_time(kind):
    method, arrays = released(kind)
    assert isinstance(method, Scored)
    whole = method.losses(arrays, ROWS.x, ROWS.label)
    assert whole.dtype == np.float64 and whole.shape == (12,) and np.isfinite(whole).all()
    np.testing.assert_array_equal(whole, method.losses(arrays, ROWS.x, ROWS.label))
    part = method.losses(arrays, ROWS.x[3:7][::-1], ROWS.label[3:7][::-1])
    np.testing.assert_allclose(part[::-1], whole[3:7], rtol=1e-5)  # float32 products of other sizes


def test_membership_counts_and_tells_no_loss():
    assert not isinstance(cases.build("membership"), Scored)


def normal(means, covariance, z, label):
    return np.array(
        [-stats.multivariate_normal(means[k], covariance).logpdf(row) for row, k in zip(z, label, strict=True)]
    )


def made(rng, genes=4, loadings=2):
    return {
        "means": rng.normal(size=(3, genes)),
        "loadings": rng.normal(size=(genes, loadings)),
        "own": rng.uniform(0.2, 1, genes),
        "centre": rng.normal(3, 1, genes),
        "scale": rng.uniform(0.5, 2, genes),
        "label_weights": np.array([0.5, 0.3, 0.2]),
    }


@pytest.mark.parametrize("kind", ["gaussian", "factors"])
def test_gaussians_tell_minus_log_density_up_to_a_constant(kind):
    told = made(np.random.default_rng(0))
    z = (ROWS.x - told["centre"]) / told["scale"]
    right = normal(told["means"], told["loadings"] @ told["loadings"].T + np.diag(told["own"]), z, ROWS.label)
    found = cases.build(kind).losses(told, ROWS.x, ROWS.label)
    np.testing.assert_allclose(found - found[0], right - right[0], rtol=1e-9)


def test_a_forest_tells_minus_log_density_up_to_a_constant():
    told = made(np.random.default_rng(1), loadings=0)
    told |= {"pairs": np.array([[0, 2], [1, 2]]), "ties": np.array([0.7, -0.4])}
    told["histograms"] = margins.expected(told["means"], np.sqrt(told["own"]), told["label_weights"])
    down = np.sqrt(told["own"])[:, None] * forest.down(told["pairs"], told["ties"], 4)
    z = np.random.default_rng(2).normal(size=(12, 4))
    right = normal(told["means"], down @ down.T, z, ROWS.label)
    found = cases.build("tree").losses(told, told["centre"] + told["scale"] * z, ROWS.label)
    np.testing.assert_allclose(found - found[0], right - right[0], atol=2e-3)  # distribution functions on a grid


def test_shapes_are_undone_and_their_stretching_counted():
    rng = np.random.default_rng(3)
    means, deviations, weights = rng.normal(size=(2, 3)), rng.uniform(0.6, 1, 3), np.array([0.6, 0.4])
    model = rng.dirichlet(np.full(margins.BINS, 5), 3), means, deviations, weights
    z = rng.normal(size=(50, 3))
    y = margins.shaped(z, *model)
    back, slopes = margins.unshaped(y, *model)
    np.testing.assert_allclose(back, z, atol=1e-9)
    moved = margins.unshaped(y + 1e-7, *model)[0] - back
    np.testing.assert_allclose(np.log(moved / 1e-7).sum(1), slopes, atol=1e-5)


def test_tables_tell_minus_log_probability_of_the_bins():
    method, arrays = released("marginals")
    edges = arrays["edges"]
    right = np.zeros(12)
    for i, (row, k) in enumerate(zip(ROWS.x, ROWS.label, strict=True)):
        for gene, value in enumerate(row):
            right[i] -= np.log(max(arrays["tables"][k, gene, int((value > edges).sum())], 1e-4))
    np.testing.assert_allclose(method.losses(arrays, ROWS.x, ROWS.label), right)


@pytest.mark.parametrize(("kind", "scale"), [("linear", 1.0), ("inverted", None)])
def test_classifiers_tell_cross_entropy(kind, scale):
    method, arrays = released(kind)
    rows = (ROWS.x - arrays["centre"]) / (scale or arrays["scale"])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    logits = torch.from_numpy(np.asarray(rows @ arrays["weights"].T, np.float64))
    right = torch.nn.functional.cross_entropy(logits, torch.from_numpy(ROWS.label.copy()), reduction="none")
    np.testing.assert_allclose(method.losses(arrays, ROWS.x, ROWS.label), right, rtol=1e-4)


@pytest.mark.parametrize("kind", ["cvae", "preludes"])
def test_an_autoencoders_watched_loss_is_the_mean_of_its_rows(kind):
    method, arrays = released(kind)
    assert method.loss(dict(arrays), ROWS) == pytest.approx(method.losses(arrays, ROWS.x, ROWS.label).mean())


def test_a_gaussian_without_loadings_is_of_genes_on_their_own():
    told = made(np.random.default_rng(4))
    bare = moments.released({name: told[name] for name in ("means", "own")})
    z = np.random.default_rng(5).normal(size=(12, 4))
    right = ((z - told["means"][ROWS.label]) ** 2 / told["own"]).sum(1) / 2
    np.testing.assert_allclose(moments.surprise(bare, z, ROWS.label), right)
