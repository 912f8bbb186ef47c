import numpy as np
import pytest

from fedgenome.audit.linkage import imputation, matcher, measures
from fedgenome.audit.linkage.dosages import MASK
from fedgenome.errors import SpecError

BLOCKS, WIDTH = 40, 6
CONTIG, POSITION = np.repeat(["1", "2"], BLOCKS * WIDTH // 2), np.arange(BLOCKS * WIDTH) * 100


def people(rng, n):
    """Two haplotypes a person, each block one of four that all share: strong linkage disequilibrium within blocks."""
    founders = np.random.default_rng(11).integers(0, 2, (4, BLOCKS, WIDTH))
    picked = rng.integers(0, 4, (2, n, BLOCKS))
    return founders[picked, np.arange(BLOCKS)].sum(0).reshape(n, -1).astype(np.int8)


@pytest.fixture
def told():
    """Every second variant."""
    return np.arange(BLOCKS * WIDTH) % 2 == 0


def test_masked_variants_come_back_better_than_by_frequency(told):
    rng = np.random.default_rng(1)
    fitted = imputation.fit(people(rng, 300), told, CONTIG, POSITION, nearest=6)
    truth = people(rng, 100)
    back = imputation.impute(fitted, np.where(told, truth, MASK).astype(np.int8))
    commonest = np.stack([(truth == g).mean(0) for g in range(3)]).max(0)[~told].mean()
    assert (back[:, told] == truth[:, told]).all()
    assert (back == truth)[:, ~told].mean() > commonest + 0.15


def test_people_are_found_in_a_panel_that_shares_no_variant_with_the_release(told):
    """Without guesses nobody is; the channel learns from imputed pairs."""
    rng, owner = np.random.default_rng(2), np.arange(60)
    base, others, candidates = people(rng, 300), people(rng, 100), people(rng, 60)
    panel = np.where(told, -1, candidates).astype(np.int8)
    fitted = imputation.fit(base, told, CONTIG, POSITION, nearest=6)
    shown = np.where(told, candidates, MASK).astype(np.int8)
    seen = imputation.impute(fitted, np.where(told, others, MASK).astype(np.int8))
    channel = matcher.channel(base, (seen, np.where(told, -1, others).astype(np.int8)))
    plain, guessed = (matcher.log_ratios(channel, x, panel) for x in (shown, imputation.impute(fitted, shown)))
    assert (plain == 0).all() and measures.found(guessed, owner, rng).low > 0.8


def test_guesses_are_those_of_ridge_regression_on_the_nearest_told_of_the_contig(told):
    base = people(np.random.default_rng(3), 50)
    fitted = imputation.fit(base, told, CONTIG, POSITION, nearest=3, ridge=2.0)
    at = np.flatnonzero(fitted.hidden == 119)[0]  # the last of the first contig
    assert sorted(fitted.near[at]) == [114, 116, 118]
    x = base - fitted.means
    near = x[:, fitted.near[at]]
    expected = np.linalg.lstsq(np.r_[near, np.sqrt(2) * np.eye(3)], np.r_[x[:, 119], 0, 0, 0], rcond=None)[0]
    np.testing.assert_allclose(fitted.weights[at], expected)


def test_a_contig_without_told_variants_stays_missing(told):
    base = people(np.random.default_rng(4), 50)
    only = told & (CONTIG == "1")
    back = imputation.impute(imputation.fit(base, only, CONTIG, POSITION), base)
    assert (back[:, CONTIG == "2"] == -1).all() and (back[:, CONTIG == "1"] >= 0).all()


def test_other_variants_are_refused(told):
    base = people(np.random.default_rng(5), 20)
    with pytest.raises(SpecError, match="expected told, contig and position of every variant, got variants=240"):
        imputation.fit(base, told[:9], CONTIG, POSITION)
    with pytest.raises(SpecError, match="expected the variants that guesses were fitted to, got fitted=240, got=9"):
        imputation.impute(imputation.fit(base, told, CONTIG, POSITION), base[:, :9])
