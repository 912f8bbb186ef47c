import numpy as np
import pytest

from fedgenome.audit.linkage import measures, neighbours
from fedgenome.audit.linkage.dosages import MASK
from fedgenome.errors import SpecError


def test_agreement_and_alleles_alike_are_those_of_a_loop():
    left, right = np.random.default_rng(1).integers(-2, 3, (2, 4, 30)).astype(np.int8)
    same, alike = neighbours.agreement(left, right), neighbours.identity_by_state(left, right)
    for i, j in np.ndindex(4, 4):
        both = (left[i] >= 0) & (right[j] >= 0)
        x, y = left[i][both], right[j][both]
        assert same[i, j] == pytest.approx((x == y).mean())
        assert alike[i, j] == pytest.approx(1 - abs(x - y).mean() / 2)


def test_who_shares_no_variant_is_nobody():
    dark, light = np.full((1, 5), MASK, np.int8), np.ones((1, 5), np.int8)
    assert neighbours.agreement(dark, light) == 0 and neighbours.identity_by_state(dark, light) == 0


@pytest.mark.parametrize("attack", [neighbours.agreement, neighbours.identity_by_state])
def test_the_nearest_record_is_ones_own(made, attack):
    people, rng = made(np.random.default_rng(2)), np.random.default_rng(0)
    scores = attack(people.probes, people.candidates)
    assert measures.found(scores, people.owner, rng).low > 0.8
    strangers = measures.found(scores[40:], rng.permutation(80)[:40], rng, 8, 0.998)  # decoys as if in the panel
    assert strangers.low <= 0.1 <= strangers.high


def test_a_regression_learns_on_others_what_pairs_of_one_person_share(made):
    people, rng = made(np.random.default_rng(3)), np.random.default_rng(0)
    others = made(np.random.default_rng(4))
    fitted = neighbours.regression(others.probes, others.candidates, others.owner, rng)
    scores = neighbours.regressed(fitted, people.probes, people.candidates)
    assert measures.found(scores, people.owner, rng).low > 0.8


def soft(dosages, rng):
    """x · M with M above 0 everywhere."""
    return dosages * rng.uniform(0.01, 0.1, dosages.shape)


def hard(dosages, rng):
    """Homozygotes of ALT are withheld more often."""
    return np.where(rng.random(dosages.shape) < np.where(dosages == 2, 0.8, 0.2), MASK, dosages).astype(np.int8)


def public(dosages, rng):
    """The same list for everybody."""
    return np.where(np.arange(dosages.shape[1]) % 3 == 0, MASK, dosages).astype(np.int8)


@pytest.mark.parametrize(("mask", "least", "most"), [(soft, 0.8, 1), (hard, 0.3, 1), (public, 0, 0.02)])
def test_masks_that_depend_on_the_person_betray_it_and_a_public_list_does_not(made, mask, least, most):
    people, rng = made(np.random.default_rng(5), variants=120), np.random.default_rng(0)
    probes, owners = people.pairs
    scores = neighbours.by_mask(mask(people.probes, rng), people.candidates, people.base, (mask(probes, rng), owners))
    assert least <= measures.match_curve(scores, people.owner)[0] <= most


def test_a_regression_without_pairs_of_one_person_is_refused(made):
    people = made(np.random.default_rng(6), linked=2)
    with pytest.raises(SpecError, match="expected pairs of one person and of two, got linked=0"):
        neighbours.regression(people.probes[2:], people.candidates, people.owner[2:], np.random.default_rng(0))
