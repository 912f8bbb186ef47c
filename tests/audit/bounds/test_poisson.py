import numpy as np
import pytest

from fedgenome.audit.bounds.poisson import overlaps_p_value, sizes_p_value
from fedgenome.errors import SpecError

QUERIES, DONORS, RATE = 60, 100, 0.2
HIGHEST = 0.05 + 2 * (0.05 * 0.95 / 100) ** 0.5  # a sound check is above it in 100 draws with a chance of 2.3 %


def _coins(rng):
    return rng.random((QUERIES, DONORS)) < RATE


def _fixed(rng):
    return rng.permuted(np.tile(np.arange(DONORS) < RATE * DONORS, (QUERIES, 1)), axis=1)


def _shared(rng):
    return np.repeat(rng.random((QUERIES, 1)) < RATE, DONORS, axis=1)


def _again(rng):
    return np.tile(rng.random(DONORS) < RATE, (QUERIES, 1))


@pytest.mark.parametrize("check", [sizes_p_value, overlaps_p_value])
def test_samples_by_coins_are_refuted_no_oftener_than_nominal(check):
    rng = np.random.default_rng(1)
    assert np.mean([check(_coins(rng), RATE) <= 0.05 for _ in range(100)]) <= HIGHEST


@pytest.mark.parametrize(
    ("check", "draw"), [(sizes_p_value, _fixed), (sizes_p_value, _shared), (overlaps_p_value, _again)]
)
def test_samples_that_are_none_are_refuted_at_one_in_a_million(check, draw):
    rng = np.random.default_rng(2)
    assert check(draw(rng), RATE) < 1e-6 < check(_coins(rng), RATE)


@pytest.mark.parametrize("check", [sizes_p_value, overlaps_p_value])
def test_another_rate_is_refuted(check):
    samples = np.random.default_rng(3).random((QUERIES, DONORS)) < 0.7 * RATE
    assert check(samples, RATE) < 1e-6 < check(samples, 0.7 * RATE)


def test_counts_in_place_of_coins_and_single_queries_are_refused():
    with pytest.raises(SpecError, match="samples of bool, 1 queries or more by donors"):
        sizes_p_value(np.ones((3, 4)), RATE)
    with pytest.raises(SpecError, match="samples of bool, 2 queries or more by donors"):
        overlaps_p_value(np.ones((1, 4), bool), RATE)
