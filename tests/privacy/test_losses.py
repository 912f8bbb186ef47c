"""Privacy loss distributions by arrays, against dp_accounting's loops and against sums that are written out."""

import math

import numpy as np
import pytest
from dp_accounting.pld.common import compute_self_convolve_bounds
from dp_accounting.pld.pld_pmf import DensePLDPmf
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from scipy import stats

from fedgenome.privacy import losses
from fedgenome.streams import Root

BOTH = [AdjacencyType.ADD, AdjacencyType.REMOVE]
INTERVAL = 0.05  # coarse: loops over every loss stay cheap, and rounding shows
OFF_GRID = np.arange(-0.5, 3.0, 0.137)


def divergences(q, sigma):
    """Return, at each loss off the grid, the most that P − e^ε Q and Q − e^ε P come to over half-lines that are tried.

    P is the answer with the donor, Q without. Their ratio is monotone, so that the best event is a half-line.
    """
    x = np.linspace(-1 - 12 * sigma, 1 + 12 * sigma, 10_001)
    without = stats.norm.cdf(x, 0, sigma)
    donor = (1 - q) * without + q * stats.norm.cdf(x, -1, sigma)
    one_way = [(donor - math.exp(e) * without).max() for e in OFF_GRID]
    other_way = [((1 - without) - math.exp(e) * (1 - donor)).max() for e in OFF_GRID]
    return np.maximum(one_way, other_way)


@pytest.mark.parametrize("adjacency", BOTH)
@pytest.mark.parametrize(("q", "sigma"), [(1e-6, 1.0), (0.02, 0.6), (0.5, 3.0), (1.0, 1.0)])
def test_many_losses_at_once_have_the_divergences_of_the_librarys_loop(adjacency, q, sigma):
    theirs = GaussianPrivacyLoss(sigma, sampling_prob=q, adjacency_type=adjacency)
    mine = losses._Loss(sigma, sampling_prob=q, adjacency_type=adjacency)
    at = np.concatenate([np.arange(-40, 40, 0.37), np.geomspace(1e-9, 1e-2, 8), [math.log1p(-q / 2), 900.0]])
    np.testing.assert_allclose(mine.get_delta_for_epsilon(at), theirs.get_delta_for_epsilon(at), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("q", "sigma", "count"), [(0.02, 0.8, 300), (0.3, 4.0, 40), (1e-4, 2.0, 1), (1.0, 3.0, 7)])
def test_distribution_is_the_librarys(q, sigma, count):
    theirs = from_gaussian_mechanism(
        sigma / math.sqrt(count) if q == 1 else sigma, value_discretization_interval=INTERVAL, sampling_prob=q
    )
    theirs = theirs if q == 1 or count == 1 else theirs.self_compose(count)
    mine = losses.gaussian(sigma, q, count, INTERVAL)
    for delta in (1e-2, 1e-4, 1e-6):
        assert mine.get_epsilon_for_delta(delta) == pytest.approx(theirs.get_epsilon_for_delta(delta), abs=1e-8)


def exceeds(distribution, q, sigma):
    """Return by how much a distribution's divergences lie above the true ones, at losses between its dots."""
    return np.array([distribution.get_delta_for_epsilon(e) for e in OFF_GRID]) - divergences(q, sigma)


@pytest.mark.parametrize(("q", "sigma"), [(0.1, 0.7), (0.6, 1.5), (1.0, 1.0)])
def test_rounding_to_the_grid_is_upwards_and_slight(q, sigma):
    above = exceeds(losses.gaussian(sigma, q, 1, INTERVAL), q, sigma)
    assert -1e-9 < above.min() <= above.max() < 2e-3


def test_masses_put_on_the_dot_below_would_be_seen():
    right = losses._composed(AdjacencyType.REMOVE, 0.7, 0.1, 1, INTERVAL)
    low = DensePLDPmf(INTERVAL, right._lower_loss - 1, right._probs, right._infinity_mass, True)
    assert exceeds(low, 0.1, 0.7).min() < -1e-4


def masses(size):
    probs = Root(b"\0" * 32, seeded=True).stream("masses").generator().random(size) ** 6
    return probs / probs.sum()


@pytest.mark.parametrize("count", [2, 9])
def test_self_convolution_is_that_of_a_loop(count):
    probs = masses(40)
    whole = probs
    for _ in range(count - 1):
        whole = np.convolve(whole, probs)
    start, found = losses._self_convolved(probs, count)
    np.testing.assert_allclose(found, whole[start : start + len(found)], atol=1e-16)


def test_span_is_the_librarys_and_holds_all_but_what_is_paid_for():
    probs = masses(200)
    low, high = losses._span(probs, 3000)
    assert (low, high) == compute_self_convolve_bounds(probs, 3000, losses._TRUNCATED)
    assert 0 < low < 3000 * probs @ np.arange(200) < high < 3000 * 199
