"""Made phenotypes have the heritability, confounding and prevalence asked for, and the documented architecture."""

import numpy as np
import pytest
from scipy import stats

from fedgenome.cohort.phenotypes import simulate
from fedgenome.errors import SpecError


def people(rng, n=4000, variants=60):
    alt = rng.uniform(0.05, 0.5, variants)
    return rng.binomial(2, alt, (n, variants)).astype(np.int8)


def explained(phenotype, parts):
    """Return R² of liability on ``parts`` (people, k)."""
    made = np.column_stack([parts, np.ones(len(parts))])
    left = phenotype.liability - made @ np.linalg.lstsq(made, phenotype.liability)[0]
    return 1 - left.var() / phenotype.liability.var()


def test_causal_variants_explain_the_heritability_and_no_other():
    rng = np.random.default_rng(1)
    x = people(rng)
    drawn = simulate(x, rng, heritability=0.6)
    found = explained(drawn, x[:, drawn.causal])
    # R² of 20 parts in 4,000 people has a standard error below .012: 4 of them, false alarm 6e-5, two-sided.
    assert abs(found - 0.6) < 0.05 < min(abs(found - 0.5), abs(found - 0.7))
    others = np.setdiff1d(np.arange(x.shape[1]), drawn.causal)
    assert explained(drawn, x[:, others[:20]]) < 0.02


def test_ancestry_explains_the_confounding_and_nothing_where_there_is_none():
    rng = np.random.default_rng(2)
    x, group = people(rng), rng.integers(0, 4, 4000)
    parts = np.eye(4)[group][:, 1:]
    found = [explained(simulate(x, rng, heritability=0.3, ancestry=group, confounding=c), parts) for c in (0.0, 0.3)]
    assert found[0] < 0.01 and abs(found[1] - 0.3) < 0.05


def test_variants_explain_alike_whatever_their_frequency():
    rng = np.random.default_rng(3)
    x = people(rng)
    told = [simulate(x, rng, causal=60) for _ in range(40)]
    spread = x.std(0)
    alike = stats.spearmanr(np.tile(spread, 40), np.abs([one.effects * spread for one in told]).ravel())
    rarer = stats.spearmanr(np.tile(spread, 40), np.abs([one.effects for one in told]).ravel())
    assert alike.pvalue > 1e-3 and rarer.statistic < -0.1 and rarer.pvalue < 1e-6


@pytest.mark.parametrize("prevalence", [0.1, 0.5])
def test_cases_are_the_stated_share_of_most_liability(prevalence):
    drawn = simulate(people(np.random.default_rng(4), 501), np.random.default_rng(4), prevalence=prevalence)
    assert drawn.label.sum() == round(prevalence * 501) and set(drawn.label) == {0, 1}
    assert drawn.liability[drawn.label == 1].min() > drawn.liability[drawn.label == 0].max()


def test_what_is_not_called_counts_as_the_mean():
    rng = np.random.default_rng(5)
    x = people(rng, 500)
    x[rng.random(x.shape) < 0.2] = -1
    drawn = simulate(x, np.random.default_rng(6), heritability=0.999999)
    called = np.where(x < 0, np.nan, x)[:, drawn.causal]
    centred = np.nan_to_num(called - np.nanmean(called, axis=0))
    assert np.corrcoef(centred @ drawn.effects, drawn.liability)[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"causal": 61}, r"variants that vary, got causal=61, vary=60"),
        ({"heritability": 0.8, "confounding": 0.2}, r"shares >= 0 that leave noise"),
        ({"confounding": 0.2}, r"an ancestry of every person"),
        ({"prevalence": 1.0}, r"0 < prevalence < 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(more, rule):
    with pytest.raises(SpecError, match=rule):
        simulate(people(np.random.default_rng(7), 200), np.random.default_rng(7), **more)
