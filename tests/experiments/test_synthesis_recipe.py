"""The published recipe: its fit is the nearest star, its price is right, and without noise it gives the data back."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from experiments.synthesis import recipe
from fedgenome.audit.targets import Records
from fedgenome.errors import SpecError

N, GENES, LABELS = 400, 6, 3


def people(seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(LABELS, size=N)
    x = 8 + label[:, None] * np.linspace(-1, 1, GENES) + rng.standard_normal((N, GENES))
    return Records(x=x.astype(np.float32), label=label)


def test_without_noise_the_unpaid_recipe_has_the_rows_own_tables_and_bin_means():
    rows = people()
    star = recipe.unpaid(rows, LABELS, None, 1e-4, np.random.default_rng(1))
    edges = np.quantile(rows.x.astype(float), [0.25, 0.5, 0.75], axis=0).T
    for gene in range(GENES):
        bins = np.searchsorted(edges[gene], rows.x[:, gene].astype(float))
        for b in range(4):
            assert np.isclose(star.values[gene, b], rows.x[bins == b, gene].mean(dtype=float))
            share = [np.mean(bins[rows.label == one] == b) for one in range(LABELS)]
            assert np.allclose(star.tables[:, gene, b], share, atol=1e-9)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6))
def test_given_the_sizes_no_star_is_nearer_to_the_noisy_tables(seed):
    noisy = np.random.default_rng(seed).normal(20, 30, (2, 2, 4))
    sizes, tables = recipe.star_fit(noisy, np.array([80.0, 70.0]))
    for one in range(2):
        for gene in range(2):
            fitted = sizes[one] * tables[one, gene]
            found = optimize.minimize(
                lambda q, y=noisy[one, gene]: ((q - y) ** 2).sum(), np.full(4, sizes[one] / 4), method="SLSQP",
                bounds=[(0, None)] * 4, constraints={"type": "eq", "fun": lambda q, s=sizes[one]: q.sum() - s},
            )  # fmt: skip
            assert ((fitted - noisy[one, gene]) ** 2).sum() <= found.fun + 1e-3 * (1 + found.fun)


def test_sizes_weigh_the_label_and_each_genes_total_by_inverse_variance():
    tables = np.zeros((1, 8, 4))
    tables[0, :, 0] = 90
    sizes, _ = recipe.star_fit(tables, np.array([120.0]))
    assert sizes[0] == pytest.approx((8 / 4 * 90 + 120) / (8 / 4 + 1))


def test_renyi_noise_costs_its_epsilon_and_no_less():
    sigma = recipe.renyi_multiplier(2.0, 1e-5)
    orders = np.linspace(1.01, 200, 200_000)
    price = (orders / (2 * sigma**2) + math.log(1e5) / (orders - 1)).min()
    assert price == pytest.approx(2.0, rel=1e-4)
    assert recipe.multiplier(2.0, 1e-5) < sigma  # the exact accountant needs less
    with pytest.raises(SpecError, match="epsilon > 0"):
        recipe.renyi_multiplier(0.0, 1e-5)


def test_paid_edges_and_values_come_near_the_exact_ones_when_noise_is_small():
    rows, rng = people(), np.random.default_rng(2)
    paid = recipe.paid(rows, LABELS, (0.0, 20.0), 20.0, 1e-4, rng)
    exact = recipe.unpaid(rows, LABELS, None, 1e-4, rng)
    assert np.abs(paid.values - exact.values).max() < 0.35
    assert np.abs(paid.weights - exact.weights).max() < 0.02


def test_what_is_drawn_has_the_stars_shares():
    star = recipe.unpaid(people(), LABELS, None, 1e-4, np.random.default_rng(3))
    drawn = recipe.draw(star, 20_000, np.random.default_rng(4))
    shares = np.bincount(drawn.label, minlength=LABELS) / 20_000
    assert np.abs(shares - star.weights).max() < 0.02  # over 5 standard deviations
    lowest = drawn.x[drawn.label == 0, 0] == np.float32(star.values[0, 0])
    assert abs(lowest.mean() - star.tables[0, 0, 0]) < 0.04
