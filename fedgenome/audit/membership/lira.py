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


def calibrated(evidence: Evidence) -> Array:
    """Score records by Φ⁻¹(1 − p), p the one-sided p-value of the record's own margins under shadows without it.

    Of n normal margins with mean m and deviation s the next is m + s·√(1 + 1/n)·t, t of Student's law with n − 1
    degrees of freedom. So whoever calls a member from Φ⁻¹(1 − α) on has a false-alarm rate of α for *every* record
    whose margins are normal, however few the shadows and however wide its own spread; the other scores keep α on
    average over records only. With few shadows that costs hits: :func:`offline` lets records share a deviation.
    """
    require_out(evidence, 2)
    outside = ~evidence.inside
    n = outside.sum(0)
    mean, squares = _moments(evidence, outside)
    spread = np.maximum(np.sqrt(squares / (n - 1) * (1 + 1 / n)), _SMALLEST)
    t = (evidence.target.margin - mean) / spread
    p = np.maximum(stats.t.sf(np.abs(t), n - 1), np.finfo(np.float64).tiny)  # of the side it is on
    return np.asarray(np.copysign(stats.norm.isf(p), t))


def _normal(evidence: Evidence, of: Array) -> tuple[Array, Array]:
    """Return mean and deviation, (records,) each, of the margins under the shadows that ``of`` says.

    Under ``ENOUGH`` shadows one deviation serves all records: of margins about their own record's mean. (About the
    mean of all records, as published code has it, it would be that of records, not of trainings.)
    """
    n = of.sum(0)
    mean, squares = _moments(evidence, of)
    few = len(of) < ENOUGH
    variance = np.full(len(mean), squares.sum() / (n - 1).sum()) if few else squares / (n - 1)
    return mean, np.maximum(np.sqrt(variance), _SMALLEST)


def _moments(evidence: Evidence, of: Array) -> tuple[Array, Array]:
    """Return the mean of the margins under the shadows that ``of`` says and their squares about it, (records,) each."""
    margins = evidence.shadows.margin
    mean = (margins * of).sum(0) / of.sum(0)
    return mean, (((margins - mean) * of) ** 2).sum(0)
