"""Effects on one scale: 0 where a vector finds no more than at its own negative control, 1 where all is recited.

Each takes counts, scores or bits of what was planted and of what was not, so that what chance alone gives is taken
off. Ends are one-sided bounds; ``tails_for`` says at which chances. They take units for independent, which donors or
canaries that share a release are only given that release; the lower end of ``guessing`` alone does not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from fedgenome.audit.bounds import one_run
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.bounds.one_run import Guesses
from fedgenome.audit.bounds.ranking import auc, auc_interval, chance_p_value
from fedgenome.audit.bounds.rates import binomial_bounds, hit_rate
from fedgenome.audit.bounds.search import largest, require_level
from fedgenome.audit.results import FALSE_ALARMS, LEVEL, NearCopies, controls_needed
from fedgenome.errors import SpecError, require
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Tails:
    """The chances that a lower end lies above the effect, and an upper end below it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What one vector found.

    Attributes:
        vector: Its name.
        estimate: The effect, in [0, 1].
        low: Lower end.
        high: Upper end.
        p_value: Of "no effect", one-sided, uncorrected.
        tails: At which chances the ends hold.
    """

    vector: str
    estimate: float
    low: float
    high: float
    p_value: float
    tails: Tails


def tails_for(vectors: int, level: float = LEVEL) -> Tails:
    """Return the tails of each of ``vectors`` effects, fixed beforehand, whose worst has bounds at ``level``.

    Lower ends share 1 − ``level``: any of them may be the largest by chance. The upper end of the worst needs no
    share: the vector that is truly worst is one of them, and its own upper end is at most the largest.
    """
    require(vectors >= 1, "vectors >= 1", vectors=vectors)
    miss = require_level(level)
    return Tails(low=miss / vectors, high=miss)


def ranking(vector: str, planted: Array, unplanted: Array, tails: Tails) -> Effect:
    """Return 2·AUC − 1 of planted against unplanted scores, larger for what was planted (perplexity negated)."""
    return effect(
        vector,
        2 * auc(planted, unplanted) - 1,
        2 * auc_interval(planted, unplanted, 1 - 2 * tails.low).low - 1,
        2 * auc_interval(planted, unplanted, 1 - 2 * tails.high).high - 1,
        chance_p_value(planted, unplanted),
        tails,
    )


def advantage(vector: str, counts: Counts, tails: Tails) -> Effect:
    """Return TPR − FPR at a threshold fixed beforehand. Ends: Clopper–Pearson of both rates; p: Fisher's exact."""
    return _of_rates(vector, counts, tails, lambda hits, alarms: hits - alarms)


def hits(vector: str, planted: Array, unplanted: Array, tails: Tails, rate: float = FALSE_ALARMS) -> Effect:
    """Return TPR − ``rate`` where the false-alarm rate is ``rate``, itself fixed beforehand.

    Ends: those of :func:`rates.hit_rate`, which pay for a threshold that has to be found. p: Fisher's exact at the
    score that a share ``rate`` of all together reaches. That score does not depend on who was planted, so the level
    is exact.

    Args:
        vector: Name.
        planted: Scores, float (m,).
        unplanted: Scores, float (n,), n ≥ 3/``rate``.
        tails: Chances of the ends.
        rate: The false-alarm rate.

    Raises:
        SpecError: too few unplanted to speak of ``rate``.
    """
    found, at_most = (hit_rate(planted, unplanted, rate, 1 - 2 * tail) for tail in (tails.low, tails.high))
    if found is None or at_most is None:
        raise SpecError(f"expected {controls_needed(rate)} unplanted or more at rate {rate:g}, got {len(unplanted)}")
    both = np.sort(np.concatenate([planted, unplanted]))[::-1]
    reached = both[max(1, round(rate * len(both))) - 1]
    above, right = int((both >= reached).sum()), int((planted >= reached).sum())
    p_value = float(stats.hypergeom.sf(right - 1, len(both), len(planted), above))
    return effect(vector, found.estimate - rate, found.low - rate, at_most.high - rate, p_value, tails)


def copied(vector: str, found: NearCopies, members: int, controls: int, tails: Tails) -> Effect:
    """Return the share of all members who are in the tail of near-copies because they were trained on.

    J of the tail's k people are: the k − J others are a draw from the rest of the pool, so that the controls among
    them are hypergeometric. The ends are the fewest and the most J that leave what was seen likelier than a tail.
    They are exact, and the lower one is above 0 if and only if p is at most its tail. The effect is at most
    k/members: beyond its tail this vector sees nobody.

    Args:
        vector: Name.
        found: The tail.
        members: Donors of the pool who were trained on.
        controls: Donors of the pool who were not.
        tails: Chances of the ends.
    """
    strangers = found.people - found.members
    leaked = np.arange(found.members + 1)
    drawn = members + controls - leaked, controls, found.people - leaked
    few = stats.hypergeom.cdf(strangers, *drawn) > tails.low
    many = stats.hypergeom.sf(strangers - 1, *drawn) > tails.high
    return effect(
        vector,
        (found.people - strangers / (1 - found.chance)) / members,
        float(leaked[few].min()) / members,
        float(leaked[many].max(initial=0)) / members,
        found.p_value,
        tails,
    )


def residual(vector: str, counts: Counts, tails: Tails) -> Effect:
    """Return (x − c)/(1 − c): how much of what cannot be had without the record was extracted.

    x is the rate of extraction of what was planted, c that of what was not, or by a model that never saw it.

    Source: Giomi et al. 2023 (arXiv 2211.10459), Section 4.
    """
    return _of_rates(vector, counts, tails, lambda x, c: (x - c) / (1 - c) if c < 1 else 0.0)


def stands_out(vector: str, bits: Array, at_bits: float, tails: Tails) -> Effect:
    """Return the share of canaries whose exposure is ``at_bits`` or more, less the 2^−bits that chance gives.

    Never the largest exposure: without any leak the largest of 50 canaries among 100 references takes up .85 of its
    range.

    Args:
        vector: Name.
        bits: Exposures, each canary ranked by itself (see ``exposure.mean_p_value``).
        at_bits: Fixed beforehand.
        tails: Chances of the ends.
    """
    n, hits, chance = len(bits), int((bits >= at_bits).sum()), 2.0**-at_bits
    return effect(
        vector,
        hits / n - chance,
        binomial_bounds(hits, n, tails.low)[0] - chance,
        binomial_bounds(hits, n, tails.high)[1] - chance,
        float(stats.binom.sf(hits - 1, n, chance)),
        tails,
    )


def guessing(vector: str, guesses: Guesses, delta: float, tails: Tails) -> Effect:
    """Return 2v/r − 1 of one run's guesses; its lower end is tanh(ε/2) of the ε that they refute.

    For (ε, 0)-DP lets a guess be right with probability 1/(1 + e^−ε) at most, and 2/(1 + e^−ε) − 1 = tanh(ε/2).
    """
    refuted = largest(lambda e: one_run.p_value(guesses, e, delta) < tails.low)
    most = binomial_bounds(guesses.right, guesses.made, tails.high)[1] if guesses.made else 1.0
    return effect(
        vector,
        2 * guesses.right / guesses.made - 1 if guesses.made else 0.0,
        math.tanh(refuted / 2),
        2 * most - 1,
        one_run.p_value(guesses, 0.0, delta),
        tails,
    )


def _of_rates(vector: str, counts: Counts, tails: Tails, of: Callable[[float, float], float]) -> Effect:
    """Return an effect that grows with the hit rate and falls with the false-alarm rate."""
    (least, _), (_, most_alarms) = _both(counts, tails.low / 2)
    (_, most), (least_alarms, _) = _both(counts, tails.high / 2)
    above, everyone = counts.hits + counts.false_alarms, counts.members + counts.controls
    return effect(
        vector,
        of(counts.hits / counts.members, counts.false_alarms / counts.controls),
        of(least, most_alarms),
        of(most, least_alarms),
        float(stats.hypergeom.sf(counts.hits - 1, everyone, counts.members, above)),
        tails,
    )


def _both(counts: Counts, tail: float) -> tuple[tuple[float, float], tuple[float, float]]:
    return (
        binomial_bounds(counts.hits, counts.members, tail),
        binomial_bounds(counts.false_alarms, counts.controls, tail),
    )


def effect(vector: str, estimate: float, low: float, high: float, p_value: float, tails: Tails) -> Effect:
    """Return an effect whose numbers are held to [0, 1]."""
    estimate, low, high = (min(1.0, max(0.0, end)) for end in (estimate, low, high))
    return Effect(vector=vector, estimate=estimate, low=low, high=high, p_value=min(1.0, p_value), tails=tails)
