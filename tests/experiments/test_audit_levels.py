"""The command on levels: what it permutes may be permuted, and a twin that peeks at membership is above nominal."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.audit_levels import levels, worlds
from experiments.audit_levels.run import NOMINAL, most
from fedgenome.audit.model_loss import by_heart
from fedgenome.audit.run import EVERY
from fedgenome.audit.targets import Records, Target

DONORS = worlds.MEMBERS + worlds.CONTROLS


def rows(n, rng):
    label = rng.integers(0, 2, n)
    return Records(x=rng.uniform(0, 1, (n, 5)) * (1 + label[:, None]) / 2, label=label)


@pytest.mark.parametrize("name", EVERY)
def test_a_score_depends_on_nobody_scored_beside_it(name):
    """So that scores may be taken once, and membership be dealt anew."""
    rng = np.random.default_rng(1)
    pool, base, table = rows(40, rng), rows(30, rng), rows(60, rng)
    target = Target(table=table, samples=table, losses=by_heart(table))
    some = rng.permutation(40)[:15]
    alone = EVERY[name](pool.rows(some), target, base)
    assert np.allclose(alone, EVERY[name](pool, target, base)[some], rtol=1e-9, atol=1e-9)


def alarms(peek, draws=150):
    """Return the share of p at most .05 where scores follow membership by ``peek`` standard deviations."""
    rng, world = np.random.default_rng(2), SimpleNamespace(leaked=np.zeros(DONORS, bool))
    scores, small = rng.standard_normal(DONORS), []
    for _ in range(draws):
        inside, outside = levels.split(world, worlds.CONTROLS, rng)
        seen = scores + peek * np.isin(np.arange(DONORS), inside)
        (attack,) = levels.judged({"made up": seen}, inside, outside)
        small.append(attack.p_value <= NOMINAL)
    return np.mean(small)


def test_permuted_membership_is_at_level_and_scores_that_peek_are_not():
    assert alarms(0.0) <= most(NOMINAL, 150) < alarms(0.3)


def test_members_and_controls_are_drawn_anew_and_apart():
    world, rng = SimpleNamespace(leaked=np.zeros(DONORS, bool)), np.random.default_rng(3)
    (inside, outside), (again, _) = (levels.split(world, 46, rng) for _ in range(2))
    assert (len(inside), len(outside)) == (worlds.MEMBERS, 46)
    assert not set(inside) & set(outside) and set(inside) != set(again)
