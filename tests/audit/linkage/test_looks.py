"""The matcher of numbers: against plain sums of log densities, and on people seen twice."""

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit.linkage import looks, measures
from fedgenome.errors import SpecError


@pytest.fixture
def expressed():
    """Return 40 people's second looks and panel records, and base and pairs of others; slope .05, as of a soft mask."""
    rng = np.random.default_rng(3)

    def people(n):
        return rng.normal(5, 1, (n, 30))

    def look(true):
        return 0.05 * true + rng.normal(0, 0.02, true.shape)

    candidates, others = people(40), people(60)
    return look(candidates), candidates, people(80), (look(others), others)


def test_ratios_are_sums_of_log_densities(expressed):
    probes, candidates, base, pairs = expressed
    probes, candidates = probes[:2].copy(), candidates[:3].copy()
    probes[0, 4], candidates[1, 7] = np.nan, np.nan
    fitted = looks.fit(base, pairs)
    near = stats.norm(fitted.start + fitted.slope * candidates[:, None], np.sqrt(fitted.error)).logpdf(probes)
    anybody = stats.norm(fitted.mean, np.sqrt(fitted.spread)).logpdf(probes)
    np.testing.assert_allclose(
        looks.log_ratios(fitted, probes, candidates), np.nansum(near - anybody, axis=2).T, rtol=1e-6
    )


def test_nearness_is_minus_the_mean_squared_distance_of_what_both_tell(expressed):
    probes, candidates, base, pairs = expressed
    probes[0, 1:] = np.nan
    fitted = looks.fit(base, pairs)
    expected = fitted.start + fitted.slope * candidates
    naive = -np.nanmean((probes[:, None] - expected) ** 2 / fitted.spread, axis=2)
    np.testing.assert_allclose(looks.nearness(fitted, probes, candidates), naive, rtol=1e-6)
    assert (looks.nearness(fitted, np.full((1, 30), np.nan), candidates) == -np.inf).all()


def test_a_scaled_and_noisy_look_finds_its_owner_and_a_strangers_does_not(expressed):
    probes, candidates, base, pairs = expressed
    rng = np.random.default_rng(0)
    fitted = looks.fit(base, pairs)
    scores = looks.log_ratios(fitted, probes, candidates)
    assert measures.found(scores, np.arange(40), rng).low > 0.9
    assert measures.found(scores, (np.arange(40) + 1) % 40, rng).estimate == 0


def test_the_law_of_a_look_is_learnt_from_pairs(expressed):
    _, _, base, pairs = expressed
    fitted = looks.fit(base, pairs)
    np.testing.assert_allclose(fitted.slope, 0.05, atol=0.01)
    np.testing.assert_allclose(np.sqrt(fitted.error), 0.02, atol=0.005)


@pytest.mark.parametrize(("pairs", "message"), [((1, 1), "two pairs"), ((3, 4), "two pairs")])
def test_pairs_of_other_shapes_are_refused(pairs, message):
    with pytest.raises(SpecError, match=message):
        looks.fit(np.zeros((5, 2)), tuple(np.zeros((n, 2)) for n in pairs))
