"""Means that a classifier's weights were turned into tell labels apart as it does."""

import numpy as np
import pytest

from fedgenome.cohort.shard import Shard
from fedgenome.methods import registry
from fedgenome.methods.inverted import inverted
from fedgenome.study import MethodSpec, Schema

GENES, LABELS = 30, 3
RNG = np.random.default_rng(0)
WEIGHTS, SHARES = RNG.normal(0, 1, (LABELS, GENES)), np.array([0.6, 0.3, 0.1])


def log_odds(means, own, rows):
    """Naive oracle: logarithm of each label's density, (rows, labels), about its mean over labels."""
    logs = np.stack([-((rows - mean) ** 2 / own).sum(1) / 2 for mean in means], axis=1)
    return logs - logs.mean(1, keepdims=True)


@pytest.mark.parametrize("between", [0.1, 3.0])
def test_log_odds_of_what_is_drawn_go_as_the_classifiers_scores(between):
    rows = RNG.normal(0, 1, (200, GENES))
    scores = (rows[1:] - rows[0]) @ (WEIGHTS - WEIGHTS.mean(0)).T
    found = log_odds(*inverted(WEIGHTS, SHARES, between), rows)
    ratio = (found[1:] - found[0]) / scores
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)
    assert ratio[0, 0] > 0


def test_labels_vary_as_much_as_asked_and_genes_keep_their_variance():
    for between in (0.1, 1.0):
        means, own = inverted(WEIGHTS, SHARES, between)
        varied = SHARES @ means**2
        np.testing.assert_allclose(own + varied, 1)
        # About: a gene's own variance, in whose square it is counted, is less than 1.
        assert 0.5 * between / (1 + between) < varied.mean() <= between


def test_weights_that_learned_nothing_give_rows_that_tell_nothing():
    means, own = inverted(np.zeros((LABELS, GENES)), SHARES, 1.0)
    np.testing.assert_array_equal(means, 0)
    np.testing.assert_array_equal(own, 1)


def test_without_noise_what_is_drawn_tells_the_labels_of_the_cohort_apart():
    schema = Schema(genes=tuple(map(str, range(GENES))), labels=("a", "b", "c"), high=10.0, unit="donor")
    method = registry.build(MethodSpec(kind="inverted", options={"radius": 60.0, "spread": 1.0}), schema, 300, False)
    label = np.repeat([0, 1, 2], 100)
    x = (5 + WEIGHTS[label] / 2 + RNG.normal(0, 1, (300, GENES))).astype(np.float32)
    donors = tuple(map(str, range(300)))
    shard = Shard(x=x, label=label, donor=np.arange(300), donors=donors, mask=np.ones(300, bool))
    state = method.start(RNG)
    while (question := method.ask(state)) is not None:
        state = method.learn(state, question, method.answer(question, shard, None).value)
    rows = method.sample(method.release(state), label, RNG)
    means = np.stack([rows[label == k].mean(0) for k in range(3)])
    nearest = ((x[:, None] - means) ** 2).sum(2).argmin(1)
    assert np.mean(nearest == label) > 0.95
