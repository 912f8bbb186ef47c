"""Bounds on a grid of counts and scores, against `jax_privacy.auditing`."""

import numpy as np
import pytest

from fedgenome.audit.bounds import clopper_pearson, f_dp, one_run, thresholds
from fedgenome.audit.bounds.one_run import Guesses

auditing = pytest.importorskip(
    "jax_privacy.auditing", reason="the oracle is not installed, as it brings JAX: make test-oracle"
)

DELTA = 1e-5


def _cases():
    """Yield (members' scores, controls' scores, a threshold fixed beforehand) of weak and strong attacks."""
    for seed, (n, shift) in enumerate([(50, 0.0), (50, 1.0), (300, 0.5), (300, 2.0), (1000, 3.0)]):
        rng = np.random.default_rng(seed)
        for threshold in (0.5, 1.5, 2.5):
            yield rng.normal(shift, 1, n), rng.normal(0, 1, n + 7), threshold


@pytest.fixture(params=list(_cases()), ids=lambda case: f"{len(case[0])} at {case[2]}")
def case(request):
    members, controls, threshold = request.param
    counts = thresholds.counts_at(members, controls, threshold)
    guesses = Guesses(canaries=len(members) + len(controls), made=counts.hits + counts.false_alarms, right=counts.hits)
    strategy = {"threshold_strategy": auditing.Explicit(threshold)}
    return auditing.CanaryScoreAuditor(members, controls), strategy, counts, guesses


@pytest.mark.parametrize("significance", [0.01, 0.05, 0.2])
def test_clopper_pearson_is_the_oracles(case, significance):
    auditor, strategy, counts, _ = case
    theirs = auditor.epsilon_clopper_pearson(significance, DELTA, one_sided=False, **strategy)
    assert clopper_pearson.epsilon(counts, significance, DELTA) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("significance", [0.01, 0.05])
def test_one_run_bounds_are_the_oracles(case, significance):
    auditor, strategy, _, guesses = case
    theirs = auditor.epsilon_one_run(significance, DELTA, **strategy)
    assert one_run.epsilon(guesses, DELTA, 1 - significance).epsilon == pytest.approx(theirs, abs=1e-5)
    theirs = auditor.epsilon_one_run_fdp(significance, DELTA, **strategy)
    assert f_dp.gaussian_epsilon(guesses, DELTA, 1 - significance).epsilon == pytest.approx(theirs, abs=1e-5)
