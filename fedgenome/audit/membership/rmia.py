"""RMIA: how many of the population a record's likelihood ratio beats.

Source: Zarifzadeh et al. 2024, "Low-Cost High-Power Membership Inference Attacks", equations 1 to 4 and section 3.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from fedgenome.audit.membership.evidence import Evidence, require_both, require_out, require_population
from fedgenome.errors import require
from fedgenome.query import Array

GAMMA = 2.0  # a pairwise ratio from which on the record wins; published value, fixed before anything is attacked
A = 0.3  # offline: p(x | with x) is taken as a·p(x | without) + 1 − a; published value for images


def online(evidence: Evidence, gamma: float = GAMMA) -> Array:
    """Score records by P_z[p(x|θ)/p(x) ≥ γ·p(z|θ)/p(z)], p(x) = ½ (mean over shadows with x + mean without)."""
    require_both(evidence, 1)
    log_p, inside = -evidence.shadows.loss, evidence.inside
    prior = np.logaddexp(_log_mean(log_p, inside), _log_mean(log_p, ~inside)) - np.log(2)
    return _wins(evidence, prior, gamma)


def offline(evidence: Evidence, gamma: float = GAMMA, a: float = A) -> Array:
    """Score records as :func:`online` does, but with p(x) = ½ ((1 + a)·p_out(x) + 1 − a) from shadows without x."""
    require(0 <= a <= 1, "0 <= a <= 1", a=a)
    require_out(evidence, 1)
    return _wins(evidence, _corrected(_log_mean(-evidence.shadows.loss, ~evidence.inside), a), gamma, a)


def _wins(evidence: Evidence, prior: Array, gamma: float, a: float = A) -> Array:
    require(gamma > 0, "gamma > 0", gamma=gamma)
    others = require_population(evidence)
    outside = np.ones(others.shadows.loss.shape, np.bool_)  # nobody trained on the population
    ratio_x = -evidence.target.loss - prior
    ratio_z = np.sort(-others.target.loss - _corrected(_log_mean(-others.shadows.loss, outside), a))
    return np.asarray(np.searchsorted(ratio_z, ratio_x - np.log(gamma), side="right") / len(ratio_z))


def _corrected(log_out: Array, a: float) -> Array:
    return np.asarray(np.log(((1 + a) * np.exp(log_out) + 1 - a) / 2))


def _log_mean(log_p: Array, of: Array) -> Array:
    """Return the logarithm of the mean of exp(log_p) over the models that ``of`` says, (records,)."""
    return np.asarray(special.logsumexp(log_p, axis=0, b=of / of.sum(0)))
