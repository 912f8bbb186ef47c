"""From people to what attacks on their classifier achieve."""

import numpy as np
import pytest

from fedgenome.audit import checks
from fedgenome.audit.membership import run
from fedgenome.audit.shadows import training
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.audit.targets import Records

OVERFITTED = Recipe(steps=300, batch=64, rate=5e-3)
PRIVATE = Recipe(steps=60, batch=64, sampling="poisson", hidden=(32,), rate=5e-3, clip=0.5, noise=50.0)


def people(n, rng):
    """Return n people of 40 genes and three classes, one in five of whom has a label of chance."""
    truth = rng.integers(0, 3, n)
    label = np.where(rng.random(n) < 0.2, rng.integers(0, 3, n), truth)
    return Records(x=rng.normal(0.5 * (truth[:, None] == np.arange(40) % 3), 1.0), label=label)


def audited(recipe, seed=1, sees=None):
    """Return the attacks on a classifier of 400 people (of ``sees``, if others were to be trained on)."""
    rng = np.random.default_rng(seed)
    members, controls, population = people(400, rng), people(200, rng), people(80, rng)
    taught = members if sees is None else people(sees, rng)
    everyone = np.ones((1, len(taught)), bool)
    target = training.train(taught.x, taught.label, everyone, recipe, rng, classes=3)
    found = run.audit(
        members=members,
        controls=controls,
        target=lambda x: training.logits(target, x)[0],
        recipe=recipe,
        classes=3,
        rng=rng,
        shadows=12,
        population=population,
    )
    return {attack.name: attack for attack in found}


def test_an_overfitted_classifier_is_caught_by_every_attack():
    found = audited(OVERFITTED)
    assert len(found) == 15
    assert max(attack.p_value for attack in found.values()) < 1e-3
    assert max(attack.auc.estimate for attack in found.values()) > 0.85


@pytest.mark.parametrize(("recipe", "sees"), [(OVERFITTED, 400), (PRIVATE, None)], ids=["others", "DP-SGD"])
def test_no_attack_finds_members_of_a_classifier_that_holds_nothing_of_them(recipe, sees):
    """Taught on other people, or drowned in noise; 14 attacks at a false alarm in a thousand each, seed fixed."""
    assert min(attack.p_value for attack in audited(recipe, sees=sees).values()) > 1e-3


def test_a_blind_attacker_on_the_same_people_is_at_chance():
    rng = np.random.default_rng(1)
    inside, outside = checks.blind_scores(people(400, rng), people(200, rng), rng)
    assert abs((inside[:, None] > outside).mean() - 0.5) < 4 * 0.041  # four standard errors of 200 and 100


def test_a_third_of_the_controls_is_the_population_if_there_is_none():
    rng = np.random.default_rng(1)
    members, controls = people(40, rng), people(30, rng)
    given = {"members": members, "controls": controls, "recipe": Recipe(steps=1, batch=8), "classes": 3, "shadows": 10}
    found = run.audit(target=lambda x: x[:, :3], rng=np.random.default_rng(2), **given)
    again = run.audit(target=lambda x: x[:, :3], rng=np.random.default_rng(2), **given)
    assert found == again
    assert found[0].auc.low < found[0].auc.estimate < found[0].auc.high


def test_pooled_people_keep_their_rows_and_share_no_number():
    rows = np.arange(6.0)[:, None]
    members = Records(x=rows[:4], label=np.zeros(4, int), donor=np.array([7, 7, 2, 2]))
    controls = Records(x=rows[4:], label=np.ones(2, int), donor=np.array([2, 9]))
    pool, member = run.pooled(members, controls)
    assert pool.owner.tolist() == [1, 1, 0, 0, 2, 3]
    assert member.tolist() == [True] * 4 + [False] * 2
    assert pool.x[:, 0].tolist() == rows[:, 0].tolist()
