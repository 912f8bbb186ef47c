"""Attacks on models of people: counts of what they trained on stand in for networks, so that shadows cost nothing."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from fedgenome.audit.language import markov, membership
from fedgenome.audit.language.steps import as_tensor
from fedgenome.audit.shadows import draws
from fedgenome.errors import SpecError

DONORS, SHADOWS = 60, 16
PSEUDO = 0.05  # little, so that contexts of eight remember who was counted


@pytest.fixture(scope="module")
def evidence():
    """A target of the first half of the donors, shadows of random halves, and people whom nobody saw."""
    rng = np.random.default_rng(1)
    rows, others = rng.integers(0, 4, (2, 2 * DONORS, 30))
    donor = np.repeat(np.arange(DONORS), 2)
    inside, group = draws.inside(DONORS, SHADOWS, Fraction(1, 2), rng)
    trained = [markov.fit(rows[held[donor]], 4, 6, PSEUDO) for held in inside]

    def make(members):
        target = markov.fit(rows[members[donor]] if members.any() else others, 4, 6, PSEUDO)
        return membership.gather(target, trained, inside, group, people=(rows, donor), others=(others, donor))

    return make


def test_every_attack_finds_the_members_of_a_model_that_remembers(evidence):
    member = np.arange(DONORS) < DONORS // 2
    for attack in membership.judged(membership.scores(evidence(member)), member):
        assert attack.auc.low > 0.5 and attack.p_value < 1e-3, attack.name


def test_no_attack_finds_members_of_a_model_of_others(evidence):
    """Ranks of ten attacks at p = .001 each: a false alarm once in 100 such tests."""
    member = np.arange(DONORS) < DONORS // 2
    found = membership.judged(membership.scores(evidence(np.zeros(DONORS, np.bool_))), member)
    assert {attack.name for attack in found} == set(membership.ATTACKS)
    assert min(attack.p_value for attack in found) > 1e-3


def test_signals_of_a_donor_are_means_over_its_known_bases(chain):
    rows = np.random.default_rng(2).integers(0, 5, (4, 7))
    donor = np.array([3, 1, 3, 1])
    model = chain(1)
    found = membership.of_donors(model, rows, donor)
    logs = model(as_tensor(rows)).log_softmax(2)
    for i, each in enumerate((1, 3)):
        mine, mine_logs = rows[donor == each], logs[torch.from_numpy(donor == each)]
        known = mine < 4
        losses = -mine_logs.numpy()[known, mine[known]]
        assert found.loss[i] == pytest.approx(losses.mean())
        assert found.confidence[i] == pytest.approx(np.exp(-losses).mean())
    assert np.array_equal(found.margin, -found.loss)


def test_a_donor_without_a_known_base_is_refused(chain):
    with pytest.raises(SpecError, match="a known token for every donor"):
        membership.of_donors(chain(1), np.array([[0, 1], [4, 4]]), np.array([0, 1]))
