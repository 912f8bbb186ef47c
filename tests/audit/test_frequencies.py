"""Attacks on released frequencies: members are found without noise, and no better than noise allows with it."""

import numpy as np
import pytest
from scipy import stats

from fedgenome.audit import frequencies
from fedgenome.errors import SpecError

PEOPLE, VARIANTS, Z = 100, 4000, 1.0
NAMES = (frequencies.HOMER, frequencies.RATIO, frequencies.AWARE)


def groups(seed, n=PEOPLE):
    """Return members, controls and base of one population of independent variants."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.1, 0.5, VARIANTS)
    return (rng.binomial(2, p, (size, VARIANTS)).astype(np.int8) for size in (n, n, 4 * n))


def published(members, multiplier, rng):
    """Return frequencies with the noise of one Gaussian sum of norm √variants, and its deviation."""
    noise = multiplier * np.sqrt(VARIANTS) / (2 * len(members))
    return members.mean(0) / 2 + rng.normal(0, noise, VARIANTS), noise


def aucs(members, controls, base, released, noise=0.0):
    found = frequencies.attacks(members, controls, base, released, size=len(members), noise=noise)
    assert tuple(attack.name for attack in found) == NAMES
    return {attack.name: attack.auc for attack in found}


def test_exact_frequencies_give_members_away_and_those_of_other_people_do_not():
    members, controls, base = groups(1)
    found = aucs(members, controls, base, members.mean(0) / 2)
    assert all(auc.low > 0.9 for auc in found.values())
    strangers, rest = base[:PEOPLE], base[PEOPLE:]
    none = aucs(members, controls, rest, strangers.mean(0) / 2)
    assert all(auc.low <= 0.6 and auc.high >= 0.4 for auc in none.values())


def test_noise_holds_every_attack_to_its_promise_and_a_tenth_of_it_does_not():
    members, controls, base = groups(2)
    released, noise = published(members, Z, np.random.default_rng(3))
    promised = frequencies.best_auc(Z)
    # 95 % intervals: three attacks exceed a true promise of their AUC with chance below .075, here once for all.
    assert max(auc.low for auc in aucs(members, controls, base, released, noise).values()) <= promised
    weak, small = published(members, Z / 10, np.random.default_rng(3))
    assert max(auc.low for auc in aucs(members, controls, base, weak, small).values()) > promised + 0.05


def test_who_knows_of_the_noise_finds_more():
    better = []
    for seed in range(3):
        members, controls, base = groups(10 + seed)
        released, noise = published(members, 0.7, np.random.default_rng(seed))
        found = aucs(members, controls, base, released, noise)
        better.append(found[frequencies.AWARE].estimate - found[frequencies.RATIO].estimate)
    assert np.mean(better) > 0.01


def test_the_ratio_is_that_of_going_over_alleles_and_what_is_missing_says_nothing():
    rng = np.random.default_rng(4)
    people = rng.integers(-1, 3, (5, 7)).astype(np.int8)
    p, q = rng.uniform(0.2, 0.8, (2, 7))
    right = [
        sum(
            stats.binom.logpmf(g, 2, b) - stats.binom.logpmf(g, 2, a)
            for g, a, b in zip(row, p, q, strict=True)
            if g >= 0
        )
        for row in people
    ]
    np.testing.assert_allclose(frequencies.likelihood_ratio(people, q, p), right)
    distance = [
        sum(abs(g / 2 - a) - abs(g / 2 - b) for g, a, b in zip(row, p, q, strict=True) if g >= 0) for row in people
    ]
    np.testing.assert_allclose(frequencies.homer(people, q, p), distance)


def test_under_noise_the_ratio_is_that_of_two_normal_laws():
    rng = np.random.default_rng(5)
    people, (p, q) = rng.integers(0, 3, (4, 6)).astype(np.int8), rng.uniform(0.2, 0.8, (2, 6))
    spread = np.sqrt(p * (1 - p) / 40 + 0.03**2)
    laws = [stats.norm(p + (row / 2 - p) / 20, spread).logpdf(q) - stats.norm(p, spread).logpdf(q) for row in people]
    np.testing.assert_allclose(frequencies.under_noise(people, q, p, 20, 0.03), np.sum(laws, axis=1))


def test_the_best_auc_is_that_of_two_normal_laws_one_over_z_apart():
    rng = np.random.default_rng(6)
    ahead = (rng.normal(1 / Z, 1, 40_000) > rng.normal(0, 1, 40_000)).mean()
    assert frequencies.best_auc(Z) == pytest.approx(ahead, abs=0.0125)  # 5 standard errors


@pytest.mark.parametrize(
    ("released", "said"), [(np.zeros(3), r"a frequency of every variant"), (np.full(4, np.nan), r"finite frequencies")]
)
def test_other_variants_are_refused(released, said):
    with pytest.raises(SpecError, match=said):
        frequencies.likelihood_ratio(np.zeros((2, 4), np.int8), released, np.full(4, 0.5))
