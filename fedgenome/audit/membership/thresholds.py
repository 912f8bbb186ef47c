"""Metric attacks with a threshold a class, chosen on shadows, and the risk score of their bins.

Source: Song & Mittal 2021, "Systematic Evaluation of Privacy Risks of Machine Learning Models", sections 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedgenome.audit.membership.evidence import Evidence
from fedgenome.audit.signals import Signals
from fedgenome.query import Array

BINS = 5  # of the privacy-risk score, logarithmic
_TINY = 1e-12  # smallest modified entropy that bins tell from 0

Metric = Callable[[Signals], Array]  # larger for members


def correctness(evidence: Evidence) -> Array:
    """Score records by whether the target is right, 0 or 1: there is no threshold to choose."""
    return evidence.target.correct


def confidence(evidence: Evidence) -> Array:
    """Score records by the target's confidence in their label, less their class's threshold."""
    return _beyond(evidence, lambda seen: seen.confidence)


def entropy(evidence: Evidence) -> Array:
    """Score records by minus the entropy of the target's answer, less their class's threshold."""
    return _beyond(evidence, lambda seen: -seen.entropy)


def modified_entropy(evidence: Evidence) -> Array:
    """Score records by minus the modified entropy of the target's answer, less their class's threshold."""
    return _beyond(evidence, lambda seen: -seen.modified_entropy)


def _beyond(evidence: Evidence, metric: Metric) -> Array:
    """Return how far each record is above its class's threshold: at 0 and above the published attack says "member"."""
    out, shadows = metric(evidence.target).copy(), metric(evidence.shadows)
    for each in np.unique(evidence.label):
        here = evidence.label == each
        inside = evidence.inside[:, here]
        out[here] -= best_threshold(shadows[:, here][inside], shadows[:, here][~inside])
    return out


def best_threshold(members: Array, others: Array) -> float:
    """Return the value t that makes ½ P(member ≥ t) + ½ P(other < t) largest; the lowest such value.

    Without members or without others there is nothing to choose: the median of what there is.
    """
    values = np.unique(np.concatenate([members, others]))
    if not len(members) or not len(others):
        return float(np.median(values)) if len(values) else 0.0
    caught = 1 - np.searchsorted(np.sort(members), values) / len(members)
    spared = np.searchsorted(np.sort(others), values) / len(others)
    return float(values[(caught + spared).argmax()])


def privacy_risk(evidence: Evidence) -> Array:
    """Score records by P(member | bin of the modified entropy, class), as shadows have it, members as likely as others.

    Bins are of equal width in the logarithm, from the least to the greatest value that shadows gave in the class;
    what lies beyond is in the last, and a bin that no shadow filled takes the nearest's risk, the lower one's of two.
    """
    out = np.empty(len(evidence.label))
    target, shadows = (np.log(np.maximum(seen.modified_entropy, _TINY)) for seen in (evidence.target, evidence.shadows))
    for each in np.unique(evidence.label):
        here = evidence.label == each
        inside = evidence.inside[:, here]
        out[here] = _risk(target[here], shadows[:, here][inside], shadows[:, here][~inside])
    return out


def _risk(values: Array, members: Array, others: Array) -> Array:
    pooled = np.concatenate([members, others])
    inner = np.linspace(pooled.min(), pooled.max(), BINS + 1)[1:-1]
    of_members, of_others = (_shares(np.searchsorted(inner, group, side="right")) for group in (members, others))
    filled = np.flatnonzero(of_members + of_others)
    risk = of_members[filled] / (of_members[filled] + of_others[filled])
    bins = np.searchsorted(inner, values, side="right")
    return np.asarray(risk[np.abs(bins[:, None] - filled).argmin(1)])


def _shares(bins: Array) -> Array:
    return np.bincount(bins, minlength=BINS) / max(1, len(bins))
