"""Attacks at their level where nothing leaks, and beyond it where something does."""

from dataclasses import replace

import numpy as np
import pytest

from fedgenome.audit.bounds import ranking
from fedgenome.audit.membership import attacks, thresholds
from fedgenome.audit.membership.attacks import ATTACKS
from fedgenome.audit.membership.evidence import Population
from fedgenome.errors import SpecError

ONE_EACH = np.arange(120)
REPETITIONS = 120
HIGHEST = 0.05 + 2 * (0.05 * 0.95 / REPETITIONS) ** 0.5  # a sound attack is above it with a chance of 2.3 %


def false_alarms(evidence, score, seed):
    """Return how often p < .05 over memberships drawn at random, of an attack that may look at them."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(REPETITIONS):
        member = rng.permutation(120) < 60
        found = score(evidence, member)
        alarms += ranking.chance_p_value(found[member], found[~member]) < 0.05
    return alarms / REPETITIONS


@pytest.fixture
def evidence(made):
    """Shadows that leak and a target that does not."""
    return made(1, gift=2.0, leak=0.0)[0]


@pytest.mark.parametrize("name", ATTACKS)
def test_false_alarms_are_no_more_than_nominal_under_permuted_membership(evidence, name):
    fixed = ATTACKS[name].score(evidence)
    assert false_alarms(evidence, lambda *_: fixed, seed=2) <= HIGHEST


def test_thresholds_chosen_on_the_target_raise_false_alarms(evidence):
    """The broken twin: the same attack, whose thresholds look at who the target's members are."""

    def on_target(seen, member):
        self_taught = replace(seen, shadows=seen.target[None], inside=member[None], group=np.zeros(1, int))
        return (thresholds.confidence(self_taught) >= 0).astype(float)

    assert false_alarms(evidence, on_target, seed=2) > 2 * HIGHEST


def test_a_shadow_in_the_targets_place_is_left_out_with_its_group(evidence):
    """Left out alone, how many of the others hold a record tells its members without fail."""
    alone = replace(evidence, group=np.arange(16))
    for (seen, inside), (betrayed, _) in zip(evidence.as_targets(), alone.as_targets(), strict=True):
        assert (seen.inside.sum(0) == 7).all()
        assert (betrayed.inside.sum(0) == 8 - inside).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_finds_members_whose_margin_grew(made, name):
    evidence, member = made(4, gift=3.0)
    found = {attack.name: attack for attack in attacks.judged(attacks.scores(evidence), member, ONE_EACH)}
    assert found[name].p_value < 1e-3
    assert found[name].auc.low > 0.5


def test_comparing_a_record_with_itself_finds_what_its_loss_does_not_tell(made):
    evidence, member = made(5, gift=1.0, models=32)
    found = {attack.name: attack.auc.estimate for attack in attacks.judged(attacks.scores(evidence), member, ONE_EACH)}
    assert min(found[name] for name in ("LiRA-online", "stacked")) > found["loss"] + 0.05


def test_without_a_population_its_attacks_are_left_out(evidence):
    assert set(ATTACKS) - set(attacks.scores(replace(evidence, population=None))) == {
        "attack-P", "RMIA-online", "RMIA-offline",
    }  # fmt: skip


def test_records_of_a_donor_count_once(evidence):
    member = np.arange(120) < 60
    (seen,) = attacks.judged({"loss": np.repeat([1.0, 0.0], 60)}, member, ONE_EACH // 3)
    assert seen.hits is None  # twenty donors of each, too few for a rate of 10 %
    with pytest.raises(SpecError, match="all of their records or none"):
        attacks.judged({"loss": np.zeros(120)}, member, np.zeros(120, int))


def test_population_travels_with_the_shadow_in_the_targets_place(evidence):
    (first, _), *_ = evidence.as_targets()
    assert isinstance(first.population, Population)
    assert np.array_equal(first.population.target.loss, evidence.population.shadows.loss[0])
    assert np.array_equal(first.population.shadows.loss, evidence.population.shadows.loss[2:])
