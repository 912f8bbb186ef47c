"""What a sanitizer promises: ε in proportion to distance, the grid paid for, apart from the ε of donors."""

import math
from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import special

from fedgenome.sanitize.bases import BASES
from fedgenome.sanitize.guarantee import Guarantee, coefficients, median_distance
from fedgenome.study import Sanitize, Schema

SCHEMA = Schema(genes=tuple(f"g{i}" for i in range(60)), labels=("a", "b", "c"), high=12.0, unit="donor")


def promised(**changes):
    return Guarantee.of(Sanitize(**({"kind": "metric", "keep": 50, "epsilon": 50.0} | changes)), SCHEMA)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("genes", [1, 7, 64, 909])
def test_bases_keep_distances_and_come_back(basis, genes):
    rows = np.random.default_rng(genes).random((5, genes))
    every = BASES[basis].forward(rows, 1 << 20)
    assert np.linalg.norm(every, axis=1) == pytest.approx(np.linalg.norm(rows, axis=1), rel=1e-12)
    assert BASES[basis].inverse(every, genes) == pytest.approx(rows, abs=1e-12)


@pytest.mark.parametrize("basis", BASES)
def test_kept_coefficients_are_the_nearest_row_of_few_coefficients(basis):
    rows = np.random.default_rng(1).random((3, 60))
    kept = BASES[basis].forward(rows, 20)
    short = BASES[basis].inverse(kept, 60)
    if basis == "dct":  # an orthogonal projection: what it leaves out is orthogonal to what it keeps
        assert np.einsum("ij,ij->i", rows - short, short) == pytest.approx(0, abs=1e-9)
    assert kept.shape == (3, 20)


@pytest.mark.parametrize("kind", ["laplace", "metric"])
@pytest.mark.parametrize("epsilon", [0.1, 50.0, 1000.0])
def test_grid_costs_at_most_a_thousandth(kind, epsilon):
    sanitizer = promised(kind=kind, epsilon=epsilon)
    assert 0 < sanitizer.rounding < 1.01e-3
    assert math.log2(sanitizer.scale).is_integer()
    assert sanitizer.delta < 1e-28
    assert sanitizer.local == pytest.approx(epsilon * math.sqrt(60) + sanitizer.rounding)


@pytest.mark.parametrize("kind", ["laplace", "metric"])
def test_log_ratio_of_noise_stays_within_epsilon_times_distance(kind):
    # Exact chances on the lattice: two rows' rounded coefficients differ by `apart`, at any outcome.
    sanitizer, rng = promised(kind=kind, epsilon=20.0), np.random.default_rng(2)
    one, other = (coefficients(rng.uniform(0, 12, (200, 60)), sanitizer) for _ in range(2))
    grid, beside = (np.rint(c * sanitizer.scale) for c in (one, other))
    outcome = grid + sanitizer.noise.draw([module_stream(i) for i in range(200)])
    seen = log_chance(sanitizer, outcome - grid) - log_chance(sanitizer, outcome - beside)
    most = 20.0 * np.linalg.norm(one - other, axis=1) + sanitizer.rounding
    assert (np.abs(seen) <= most).all()
    assert np.abs(seen).max() > 0.05 * most.max()  # not idle: a promise ten times as strong would not hold for Laplace


def module_stream(number):
    from fedgenome.streams import Root

    return Root.simulation(5, "guarantee").stream(number)


def log_chance(sanitizer, lattice):
    """Return log P(z) but for a constant, from the sampler's own numbers."""
    noise = sanitizer.noise
    if sanitizer.spec.kind == "laplace":
        return -float(noise.rate) * np.abs(lattice).sum(1)
    ends = (0, *noise.ends)
    share = np.array([(b - a) / 2**128 for a, b in pairwise(ends)])
    sigma = np.array(noise.sigmas)
    squares = np.square(lattice).sum(1)[:, None] / (2 * sigma**2)
    return special.logsumexp(np.log(share) - noise.coordinates * np.log(sigma / sigma[0]) - squares, axis=1)


def test_diameter_is_that_of_the_range_and_coefficients_stay_within_it():
    sanitizer = promised(keep="all")
    corners = coefficients(np.array([[0.0] * 60, [12.0] * 60]), sanitizer)
    assert np.linalg.norm(corners[1] - corners[0]) == pytest.approx(sanitizer.diameter)
    odd = coefficients(np.array([[-5.0] * 60, [np.nan] * 60, [99.0] * 60]), sanitizer)
    assert odd[[0, 2]] == pytest.approx(corners)
    assert odd[1] == pytest.approx(corners.mean(0))


def test_median_distance_is_that_of_all_pairs():
    rows, sanitizer = np.random.default_rng(3).uniform(0, 12, (40, 60)), promised()
    kept = coefficients(rows, sanitizer)
    pairs = np.linalg.norm(kept[:, None] - kept[None], axis=2)[np.triu_indices(40, 1)]
    found = median_distance(rows, sanitizer, np.random.default_rng(4))
    assert found == pytest.approx(np.median(pairs), rel=0.02)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"keep": 61}, r"sanitize\.keep: expected at most the 60 genes"),
        ({"keep": 9}, r"sanitize\.keep: expected 10 or more coefficients"),
    ],
)
def test_sanitizer_that_does_not_fit_the_schema_is_refused(changes, rule):
    from fedgenome.study import check_sanitized

    with pytest.raises(ValueError, match=rule):
        check_sanitized(Sanitize(kind="metric", epsilon=1.0, **changes), SCHEMA)


@pytest.mark.parametrize("told", [{"epsilon": 0.0}, {"keep": 0}, {"kind": "normal"}, {"labels_epsilon": 81.0}])
def test_sanitizer_outside_its_rules_is_refused(told):
    with pytest.raises(ValidationError, match=next(iter(told))):
        Sanitize.model_validate({"kind": "metric"} | told)
