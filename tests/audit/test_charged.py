"""What noised histograms say: right intervals, level, power, and silence where noise leaves too few."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit import charged
from fedgenome.audit.bounds import ranking
from fedgenome.audit.bounds.effects import Tails
from fedgenome.errors import SpecError

EDGES = np.quantile(stats.norm.rvs(size=20_000, random_state=1), np.linspace(0.05, 0.95, 11))


def histogram(scores):
    """Counts of bins, the highest scores first."""
    return np.bincount(np.searchsorted(EDGES, scores), minlength=len(EDGES) + 1)[::-1].astype(float)


def counts(rng, members=400, held=100, shift=0.0):
    return np.stack([histogram(rng.normal(shift, 1, members)), histogram(rng.normal(0, 1, held))])


def test_without_noise_the_auc_is_that_of_binned_scores():
    rng = np.random.default_rng(2)
    inside, outside = rng.normal(0.5, 1, 300), rng.normal(0, 1, 90)
    binned = [np.searchsorted(EDGES, scores).astype(float) for scores in (inside, outside)]
    found = charged.found("m", np.stack([histogram(inside), histogram(outside)]), 0.0)
    assert found.auc.estimate == pytest.approx(ranking.auc(*binned))
    assert found.auc.high == pytest.approx(ranking.auc_interval(*binned).high, abs=0.02)


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_the_interval_holds_the_truth_as_often_as_it_says(shift):
    """1,000 audits with noise: coverage of 95 % intervals at least .95 − 3 standard errors, two-sided."""
    rng, truth = np.random.default_rng(3), None
    large = counts(rng, 400_000, 400_000, shift)
    truth = charged.found("m", large, 0.0).auc.estimate
    held = [charged.found("m", counts(rng, shift=shift) + rng.normal(0, 3, (2, 12)), 3.0).auc for _ in range(1000)]
    assert np.mean([one.low <= truth <= one.high for one in held]) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 1000)


def test_noise_that_nobody_counts_in_voids_the_level():
    """The broken twin: counts noised with 12, read as if there were none, are above chance far too often."""
    rng = np.random.default_rng(4)
    noisy = [counts(rng) + rng.normal(0, 12, (2, 12)) for _ in range(400)]
    alarms = [np.mean([charged.found("m", each, said).p_value < 0.05 for each in noisy]) for said in (12.0, 0.0)]
    assert alarms[0] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert alarms[1] > 0.1


def test_where_noise_leaves_too_few_it_says_so():
    found = charged.found("m", counts(np.random.default_rng(5), held=40), 9.0)
    assert (found.auc, found.p_value, found.detectable_auc) == (None, 1.0, 1.0)
    assert "too few to say anything" in found.words


def test_the_effect_that_it_says_it_finds_is_found_four_times_in_five():
    """500 audits at the stated AUC: power within .8 ± 4 standard errors, as members' scores are normal here."""
    rng = np.random.default_rng(6)
    stated = charged.found("m", counts(rng), 3.0).detectable_auc
    shift = np.sqrt(2) * stats.norm.ppf(stated)
    p = [charged.found("m", counts(rng, shift=shift) + rng.normal(0, 3, (2, 12)), 3.0).p_value for _ in range(500)]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / 500))


@pytest.mark.parametrize(
    ("bad", "noise"), [(np.zeros((3, 4)), 1.0), (np.full((2, 4), np.nan), 1.0), (np.ones((2, 4)), -1.0)]
)
def test_bad_counts_are_refused(bad, noise):
    with pytest.raises(SpecError, match=r"expected"):
        charged.found("m", bad, noise)


def test_effects_of_noisy_sums_have_their_level_and_see_what_is_there():
    """300 audits by noisy sums, no leak: ends at .2 are above 0 in at most .2 + 3 standard errors; canaries as well."""
    rng, tails, allowed = np.random.default_rng(7), Tails(low=0.2, high=0.2), 0.2 + 3 * (0.2 * 0.8 / 300) ** 0.5
    clear = charged.guessed(np.ones(100, int), 95.0, 3.0, 0.0, 1.0)
    alarms = {"ranking": [], "guessing": []}
    for _ in range(300):
        told = charged.found("m", counts(rng) + rng.normal(0, 3, (2, 12)), 3.0)
        canaries = dataclasses.replace(clear, right=rng.binomial(100, 0.5) + rng.normal(0, 3))
        alarms["ranking"].append(charged.ranking("v", told, told.auc, tails))
        alarms["guessing"].append(charged.guessing("v", told, canaries, tails))
    for found in alarms.values():
        assert (
            np.mean([one.low > 0 for one in found]) <= allowed
            and np.mean([one.p_value < 0.2 for one in found]) <= allowed
        )
    seen = charged.guessing("v", told, clear, tails)
    assert seen.p_value < 1e-3 and 0.6 < seen.low < seen.estimate == pytest.approx(0.9) and seen.high > 0.9
