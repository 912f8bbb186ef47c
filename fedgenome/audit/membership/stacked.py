"""All signals as one attack: a logistic regression that learned on shadows what membership looks like.

Every shadow in turn plays the target for the others, whose members are known; what was learned is then used on the
target, whose members it never met.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fedgenome.audit.membership import lira, references
from fedgenome.audit.membership.evidence import Evidence
from fedgenome.query import Array

_SIGNALS = ("loss", "margin", "confidence", "entropy", "modified_entropy", "correct")
_COMPARED: tuple[Callable[[Evidence], Array], ...] = (
    references.reference,
    references.calibrated,
    lira.online,
    lira.offline,
)
_RARE = 1e-3  # quantile beyond which a feature says no more: ratios of likelihoods have no end


def stacked(evidence: Evidence) -> Array:
    """Score records by the log-odds of membership, given six signals and four comparisons with shadows."""
    learned = [(_features(seen), members) for seen, members in evidence.as_targets()]
    x, y = (np.concatenate(part) for part in zip(*learned, strict=True))
    low, high = np.quantile(x, [_RARE, 1 - _RARE], axis=0)
    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    model.fit(x.clip(low, high), y)
    return np.asarray(model.decision_function(_features(evidence).clip(low, high)))


def _features(evidence: Evidence) -> Array:
    own = [getattr(evidence.target, name) for name in _SIGNALS]
    return np.stack([*own, *(attack(evidence) for attack in _COMPARED)], axis=1)
