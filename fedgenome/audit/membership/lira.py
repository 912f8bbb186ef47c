"""LiRA: the likelihood of the target's margin under shadows that hold a record and under those that do not.

Source: Carlini et al. 2022, "Membership Inference Attacks From First Principles", algorithm 1 and section 4.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from fedgenome.audit.membership.evidence import Evidence, require_both, require_out
from fedgenome.query import Array

ENOUGH = 64  # shadows from which on every record has a deviation of its own
_SMALLEST = 1e-9  # deviation of margins that never differ


def online(evidence: Evidence) -> Array:
    """Score records by log N(φ; μ_in, σ_in) − log N(φ; μ_out, σ_out), natural logarithms."""
    require_both(evidence, 2)
    phi = evidence.target.margin
    likely = [stats.norm.logpdf(phi, *_normal(evidence, of)) for of in (evidence.inside, ~evidence.inside)]
    return np.asarray(likely[0] - likely[1])


def offline(evidence: Evidence) -> Array:
    """Score records by (φ − μ_out)/σ_out, whose normal cumulative probability is 1 − the one-sided p-value.

    The density in its place, as published code has it, would call a record a member also where the target is
    *less* sure of it than models without it. The probability itself is 1 for all who stand out far enough.
    """
    require_out(evidence, 2)
    mean, deviation = _normal(evidence, ~evidence.inside)
    return np.asarray((evidence.target.margin - mean) / deviation)


def _normal(evidence: Evidence, of: Array) -> tuple[Array, Array]:
    """Return mean and deviation, (records,) each, of the margins under the shadows that ``of`` says.

    Under ``ENOUGH`` shadows one deviation serves all records: of margins about their own record's mean. (About the
    mean of all records, as published code has it, it would be that of records, not of trainings.)
    """
    margins, n = evidence.shadows.margin, of.sum(0)
    mean = (margins * of).sum(0) / n
    squares = (((margins - mean) * of) ** 2).sum(0)
    few = len(of) < ENOUGH
    variance = np.full(len(mean), squares.sum() / (n - 1).sum()) if few else squares / (n - 1)
    return mean, np.maximum(np.sqrt(variance), _SMALLEST)
