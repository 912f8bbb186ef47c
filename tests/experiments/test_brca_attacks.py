"""What the attack table on TCGA-BRCA makes of several splits: the worst attack, the search paid for."""

import numpy as np
import pytest

from experiments.brca_attacks import judge, run
from fedgenome.audit.bounds import ranking


def outcomes(seed, attacks, shift=0.0):
    """Outcomes of so many attacks on scores of 60 members and 50 controls, members' higher by ``shift``."""
    rng = np.random.default_rng(seed)
    return {f"a{k}": judge._outcome(rng.normal(shift, 1, 60), rng.normal(0, 1, 50), attacks) for k in range(attacks)}


def test_intervals_of_several_attacks_are_wider_and_p_values_multiplied():
    scores = np.arange(60) + 0.5, np.arange(50) + 0.0
    alone, one_of_six = judge._outcome(*scores, 1), judge._outcome(*scores, 6)
    assert one_of_six.auc.low < alone.auc.low and one_of_six.hits.high >= alone.hits.high
    assert one_of_six.auc.level == pytest.approx(1 - 0.05 / 6)
    assert one_of_six.p_value == pytest.approx(min(1, 6 * ranking.chance_p_value(*scores)))


def test_the_worst_is_that_of_the_mean_and_a_split_without_a_finding_undoes_a_p_value():
    found = [outcomes(1, 3, shift=2.0), outcomes(2, 3, shift=2.0)]
    means = {name: np.mean([one[name].auc.estimate for one in found]) for name in found[0]}
    assert run._worst(found, "auc") == max(means, key=means.get)
    assert run._p_value(found) < 1e-6
    assert run._p_value([*found, outcomes(3, 3)]) > 0.05


def test_too_many_hits_for_an_epsilon_refute_it():
    leak = [outcomes(1, 2, shift=4.0)]
    assert run._over(("any", 0.1, "table"), leak) > 0 > run._over(("any", 10.0, "table"), leak)
