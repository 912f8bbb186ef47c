"""Made genotypes of which a few rare variants tell the label, and the common ones tell who somebody is."""

from dataclasses import dataclass

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedgenome.audit.linkage import measures
from fedgenome.audit.linkage.dosages import MASK
from fedgenome.audit.linkage.matcher import channel, log_ratios
from fedgenome.cohort.shard import Shard

VARIANTS, CAUSAL, ERROR = 40, np.array([3, 11, 18, 26, 35]), 0.02


@dataclass(frozen=True, kw_only=True)
class World:
    """People to learn from, and others to judge lists by."""

    x: np.ndarray
    label: np.ndarray
    other: np.ndarray
    other_label: np.ndarray
    frequency: np.ndarray

    @property
    def shard(self):
        n = len(self.x)
        return Shard(
            x=self.x,
            label=self.label,
            donor=np.arange(n),
            donors=tuple(f"d{i}" for i in range(n)),
            mask=np.ones(n, bool),
        )

    def utility(self, told):
        """Return the AUC of a fresh logistic regression of the label on what is told."""
        fitted = LogisticRegression(max_iter=500).fit(self.x[:, told > 0], self.label)
        return roc_auc_score(self.other_label, fitted.decision_function(self.other[:, told > 0]))

    def found(self, told, rng):
        """Return the rate at which a fresh likelihood matcher finds people, a second look against the first."""
        half = len(self.x) // 2
        base, pairs = self.x[:half].astype(np.int8), self.x[half:].astype(np.int8)
        people = self.other.astype(np.int8)
        probes, shown = (np.where(told > 0, looked(each, rng), MASK).astype(np.int8) for each in (people, pairs))
        scores = log_ratios(channel(base, (shown, pairs)), probes, people)
        return measures.found(scores, np.arange(len(people)), rng).estimate


def looked(x, rng):
    wrong = rng.random(x.shape) < ERROR
    return np.where(wrong, (x + rng.integers(1, 3, x.shape)) % 3, x).astype(np.int8)


@pytest.fixture(scope="module")
def world():
    """Return 240 people and 200 others."""
    rng = np.random.default_rng(0)
    frequency = rng.uniform(0.35, 0.5, VARIANTS)
    frequency[CAUSAL] = rng.uniform(0.08, 0.15, len(CAUSAL))
    x = rng.binomial(2, frequency, (440, VARIANTS)).astype(np.float32)
    score = (x[:, CAUSAL] - 2 * frequency[CAUSAL]) @ np.array([1, -1, 1, 1, -1]) + rng.normal(0, 0.4, 440)
    label = (score > np.median(score)).astype(np.int64)
    return World(x=x[:240], label=label[:240], other=x[240:], other_label=label[240:], frequency=frequency)
