"""A Gaussian with zeros: what is drawn has the shares of zeros that were learned, and mean and variance beside them."""

import numpy as np

from fedgenome.cohort.shard import Shard
from fedgenome.methods import registry
from fedgenome.study import MethodSpec, Schema

SCHEMA = Schema(genes=("A", "B", "C"), labels=("x", "y"), high=12.0, unit="donor")
ZEROS = np.array([0.0, 0.3, 0.7])


def cohort(donors=4000):
    rng = np.random.default_rng(0)
    values = rng.normal([5.0, 4.0, 6.0], 0.8, (donors, 3)).clip(0.1, 12)
    x = np.where(rng.random((donors, 3)) < ZEROS, 0, values).astype(np.float32)
    names = tuple(map(str, range(donors)))
    label = rng.integers(0, 2, donors)
    return Shard(x=x, label=label, donor=np.arange(donors), donors=names, mask=np.ones(donors, bool))


def test_without_noise_drawn_values_have_the_share_of_zeros_the_mean_and_the_spread_of_the_cohort():
    options = {"covariance": "diagonal", "zeros": True, "mirrored": False, "radius": 20.0, "spread": 4.0}
    method = registry.build(MethodSpec(kind="gaussian", options=options), SCHEMA, 4000, False)
    shard, state = cohort(), method.start(np.random.default_rng(0))
    while (question := method.ask(state)) is not None:
        state = method.learn(state, question, method.answer(question, shard, None).value)
    rows = method.sample(method.release(state), np.repeat([0, 1], 4000), np.random.default_rng(1))
    # Shares of 8,000 draws from shares of 4,000: sd .01 at most. Scales come from mean deviations: a fifth off at most.
    np.testing.assert_allclose((rows == 0).mean(0), ZEROS, atol=0.05)
    np.testing.assert_allclose(rows.mean(0), shard.x.mean(0), atol=0.25)
    np.testing.assert_allclose(rows.std(0), shard.x.std(0), rtol=0.25)
