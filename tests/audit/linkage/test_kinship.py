import numpy as np
import pytest

from fedgenome.audit.bounds.ranking import auc
from fedgenome.audit.linkage import kinship
from fedgenome.errors import SpecError


def child(mother, father, rng):
    """A dosage of one allele of either parent, variants independent."""
    return (rng.binomial(1, mother / 2) + rng.binomial(1, father / 2)).astype(np.int8)


@pytest.fixture(scope="module")
def family():
    """Two unrelated parents and two children, of two populations whose frequencies differ: 4,000 variants."""
    rng = np.random.default_rng(1)
    mother, father = (rng.binomial(2, rng.uniform(0.1, 0.9, 4000)).astype(np.int8) for _ in range(2))
    return np.stack([mother, father, child(mother, father, rng), child(mother, father, rng)])


def test_kinship_is_a_half_a_quarter_and_nothing_above_0(family):
    found = kinship.kinship(family, family)
    np.testing.assert_allclose(np.diag(found), 0.5)
    assert found[0, 1] < 0 and (found[:2, 2:] > kinship.SECOND).all() and found[2, 3] > kinship.SECOND


def test_kinship_is_that_of_a_loop_over_shared_variants():
    rng = np.random.default_rng(2)
    left, right = rng.integers(-1, 3, (2, 3, 40)).astype(np.int8)
    for i, j in np.ndindex(3, 3):
        both = (left[i] >= 0) & (right[j] >= 0)
        x, y = left[i][both], right[j][both]
        hets = min((x == 1).sum(), (y == 1).sum())
        distance = ((x - y).astype(int) ** 2).sum()
        # Equation 11 in another form: ½ − Σ(x − y)²/(4·N), N the fewer heterozygotes.
        assert kinship.kinship(left, right)[i, j] == pytest.approx(0.5 - distance / (4 * hets))


def test_relatives_in_the_panel_are_told_from_nobody():
    rng = np.random.default_rng(3)
    panel = rng.binomial(2, 0.4, (60, 600)).astype(np.int8)
    outside = rng.binomial(2, 0.4, (90, 600)).astype(np.int8)
    children = np.stack([child(panel[i], outside[i], rng) for i in range(30)])
    nobody = np.full(30, -1)
    inside, controls = (kinship.closest(kinship.kinship(x, panel), nobody) for x in (children, outside[60:]))
    assert auc(inside, controls) > 0.95  # the positive control
    assert 0.3 < auc(controls, kinship.closest(kinship.kinship(outside[30:60], panel), nobody)) < 0.7


def test_oneself_is_no_relative(family):
    others = kinship.closest(kinship.kinship(family, family), np.arange(4))
    assert (others < 0.4).all() and (kinship.closest(np.eye(2), np.array([-1, 1])) == [1, 0]).all()


def test_families_hold_together_over_common_relatives(family):
    related = kinship.kinship(family, family)
    assert len(set(kinship.families(related))) == 1
    assert len(set(kinship.families(related[:2, :2]))) == 2


def test_nothing_is_said_of_people_without_heterozygous_variants():
    dark = np.full((1, 5), -1, np.int8)
    assert kinship.kinship(dark, np.ones((1, 5), np.int8)) == -np.inf


def test_families_of_two_groups_are_refused():
    with pytest.raises(SpecError, match=r"expected \(people, people\), got shape=\(2, 3\)"):
        kinship.families(np.zeros((2, 3)))
