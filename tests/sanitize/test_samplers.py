"""Noise of sanitizers: Laplace number by number, metric by length and direction, and no other.

Streams are fixed, so outcomes are too. Under the null a p-value is below 1e-4 once in 1e4 runs; a broken twin
must give one below 1e-6.
"""

import hashlib
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from scipy import special, stats

from fedgenome.errors import SpecError
from fedgenome.sanitize.laplace import Laplace
from fedgenome.sanitize.metric import metric
from fedgenome.sanitize.responses import error_rate, respond
from fedgenome.secure import noise
from fedgenome.streams import Stream

K, RATE = 50, 1e-4


def streams(n, name="sampler"):
    return [Stream(hashlib.sha256(f"{name} {i}".encode()).digest()) for i in range(n)]


@pytest.fixture(scope="module")
def vectors():
    """Metric noise, (2000, 50)."""
    return metric(K, RATE).draw(streams(2000))


def test_laplace_numbers_have_the_stated_scale_and_no_other():
    drawn = Laplace(coordinates=K, rate=Fraction(1, 1000)).draw(streams(800)).ravel()
    spread = drawn + np.random.default_rng(0).uniform(-0.5, 0.5, drawn.size)  # the lattice is fine: 1000 steps a scale
    p = {s: stats.kstest(spread, stats.laplace(scale=1000 * s).cdf).pvalue for s in (0.9, 1.0, 1.1)}
    assert p[1.0] > 1e-4
    assert max(p[0.9], p[1.1], stats.kstest(spread, stats.norm(scale=1414).cdf).pvalue) < 1e-6


def test_metric_length_is_gamma_and_no_other(vectors):
    length = np.linalg.norm(vectors, axis=1) * RATE
    p = {k: stats.kstest(length, stats.gamma(k).cdf).pvalue for k in (K - 2, K, K + 2)}
    assert p[K] > 1e-4
    assert max(p[K - 2], p[K + 2]) < 1e-6
    # Twins: Laplace noise at the same guarantee, and a radius as if the direction were one-dimensional.
    laplace = Laplace(coordinates=K, rate=Fraction(RATE / math.sqrt(K))).draw(streams(500, "twin"))
    assert stats.kstest(np.linalg.norm(laplace, axis=1) * RATE, stats.gamma(K).cdf).pvalue < 1e-6
    assert stats.kstest(length, stats.gamma(1).cdf).pvalue < 1e-6


def test_metric_length_has_mean_k_over_epsilon(vectors):
    mean = float((np.linalg.norm(vectors, axis=1) * RATE).mean())
    error = math.sqrt(K / len(vectors))  # of a mean of Gamma(K)
    assert abs(mean - K) < 4 * error
    assert abs(mean - K * 1.03) > 4 * error  # three hundredths more noise would show


def test_metric_direction_is_uniform(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    # Of a uniform direction, a squared component is Beta(1/2, (K-1)/2) and all axes and diagonals are alike.
    law = stats.beta(0.5, (K - 1) / 2).cdf
    mixed = unit @ stats.ortho_group.rvs(K, random_state=np.random.default_rng(1))
    for seen in (unit, mixed):
        assert min(stats.kstest(seen[:, axis] ** 2, law).pvalue for axis in (0, 17, 49)) > 1e-4
    assert stats.binomtest(int((unit > 0).sum()), unit.size).pvalue > 1e-4
    twin = np.random.default_rng(2).laplace(size=vectors.shape)  # Laplace prefers the axes
    twin /= np.linalg.norm(twin, axis=1, keepdims=True)
    assert stats.kstest(twin.ravel() ** 2, law).pvalue < 1e-6


def test_length_and_direction_are_independent(vectors):
    length = np.linalg.norm(vectors, axis=1)
    share = np.abs(vectors).max(1) / length
    assert abs(stats.spearmanr(length, share).statistic) < 4 / math.sqrt(len(length))


def test_laplace_at_an_equal_guarantee_is_forty_percent_longer(vectors):
    # Exact means for K = 50, eps = 1: K, and sqrt(K)·E‖Lap(1)‖, just below sqrt(2)·K.
    drawn = Laplace(coordinates=K, rate=Fraction(RATE / math.sqrt(K))).draw(streams(2000, "laplace"))
    ratio = np.linalg.norm(drawn, axis=1).mean() / np.linalg.norm(vectors, axis=1).mean()
    assert ratio == pytest.approx(1.40, abs=0.02)


@pytest.mark.parametrize("coordinates", [10, 50, 909])
def test_mixture_falls_exponentially_with_length_and_nothing_else(coordinates):
    # log P(z) + rate·‖z‖ is constant in ‖z‖ to within the stated slack, over all lengths but 1e-20 of the noise.
    made = metric(coordinates, 1e-6)
    share = np.array([np.longdouble(b - a) / 2**128 for a, b in pairwise((0, *made.ends))])
    sigma = np.array(made.sigmas, np.longdouble)
    ends = special.gammaincinv(coordinates, 1e-20), special.gammainccinv(coordinates, 1e-20)
    length = np.linspace(*ends, 300, dtype=np.longdouble) / 1e-6
    log = np.log(share) - coordinates * np.log(sigma / sigma[0]) - (length[:, None] / sigma) ** 2 / 2
    top = log.max(1)
    told = top + np.log(np.exp(log - top[:, None]).sum(1)) + length * np.longdouble(1e-6)
    assert told.max() - told.min() < made.slack
    every_other = np.log(np.exp((log - top[:, None])[:, ::4]).sum(1)) + top + length * np.longdouble(1e-6)
    assert every_other.max() - every_other.min() > made.slack  # four times the step is too coarse: the bound is needed


def test_every_number_is_as_near_to_exact_as_delta_says():
    assert (
        max(noise.sampler(sigma).total_variation for sigma in (4.0, 999.0, 1e8, *metric(K, RATE).sigmas[::30])) < 2e-31
    )


def test_draws_come_from_their_own_stream_alone():
    made = metric(12, 1e-3)
    together, alone = made.draw(streams(5)), made.draw(streams(5)[3:4])
    assert (together[3] == alone[0]).all()
    assert (together[3] != together[2]).any()


def test_few_coordinates_and_a_coarse_grid_are_refused():
    with pytest.raises(SpecError, match="expected 10 coordinates or more, got coordinates=9"):
        metric(9, 1e-6)
    with pytest.raises(SpecError, match="expected a grid finer than the noise"):
        metric(50, 1.0)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_randomised_response_has_the_stated_chances_and_no_other(epsilon):
    (stream,) = streams(1, f"labels {epsilon}")
    told = [np.bincount([respond(true, 3, epsilon, stream) for _ in range(8000)], minlength=3) for true in range(3)]
    for twist, holds in ((0.0, True), (0.25, False)):
        wrong = error_rate(3, epsilon + twist)
        chances = [np.where(np.arange(3) == true, 1 - wrong, wrong / 2) for true in range(3)]
        p = [stats.chisquare(seen, 8000 * chance).pvalue for seen, chance in zip(told, chances, strict=True)]
        assert (min(p) > 1e-4) if holds else (max(p) < 1e-4)


def test_label_outside_the_schema_becomes_any_of_them():
    (stream,) = streams(1, "odd")
    told = np.bincount([respond(7, 3, 5.0, stream) for _ in range(3000)], minlength=3)
    assert stats.chisquare(told).pvalue > 1e-4
