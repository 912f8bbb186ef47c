"""Attacks that compare a record's loss with that of others, or with its own under models that never saw it.

Source: Ye et al. 2022, "Enhanced Membership Inference Attacks against Machine Learning Models" (attacks P and R);
Watson et al. 2022, "On the Importance of Difficulty Calibration in Membership Inference Attacks".
"""

from __future__ import annotations

import numpy as np

from fedgenome.audit.membership.evidence import Evidence, require_out, require_population
from fedgenome.query import Array


def loss(evidence: Evidence) -> Array:
    """Score records by minus the target's loss (Yeom et al. 2018)."""
    return -evidence.target.loss


def population(evidence: Evidence) -> Array:
    """Score records by the share of the population whose loss under the target is larger, ties half (attack P).

    One threshold for all: in order it is the loss attack, in size the share of false alarms that is spared.
    """
    others = np.sort(require_population(evidence).target.loss)
    lower, upper = (np.searchsorted(others, evidence.target.loss, side=side) for side in ("left", "right"))
    return 1 - (lower + upper) / (2 * len(others))


def reference(evidence: Evidence) -> Array:
    """Score records by the share of shadows without them whose loss is larger than the target's, ties half (attack R).

    A threshold for each record, at the same share of false alarms.
    """
    require_out(evidence, 1)
    larger = np.sign(evidence.shadows.loss - evidence.target.loss)
    return (_mean_outside(larger, evidence) + 1) / 2


def calibrated(evidence: Evidence) -> Array:
    """Score records by the mean loss of shadows without them less the target's loss."""
    require_out(evidence, 1)
    return _mean_outside(evidence.shadows.loss, evidence) - evidence.target.loss


def _mean_outside(values: Array, evidence: Evidence) -> Array:
    outside = ~evidence.inside
    return np.asarray((values * outside).sum(0) / outside.sum(0))
