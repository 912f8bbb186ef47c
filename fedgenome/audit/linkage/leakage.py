"""How much a linked record gives away, three ways: in σ of the null, in bits, and as ε.

Scores and ``owner`` are as in :mod:`fedgenome.audit.linkage.measures`. The first is the "privacy loss estimate" of
adversarial masking made definite: it grows without end with what is told, and is no probability. Bits are of the log₂ N
that hide a person among N. ε is what the attack refutes, and no larger than so few people can show.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from fedgenome.audit.bounds import clopper_pearson
from fedgenome.audit.bounds.thresholds import multi_split
from fedgenome.audit.linkage.measures import require_scores
from fedgenome.audit.results import LEVEL, EpsilonBound, Interval
from fedgenome.errors import require
from fedgenome.query import Array

DRAWS = 1000  # of the bootstrap
_SHARPEST = 10.0  # |log temperature| looked at
ASSUMES = "pairs of people are independent; the guarantee tested is of a release with one person's record replaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """What an attacker who starts from N candidates, all alike, knows after the scores; means over probes.

    Attributes:
        prior: log₂ N.
        claimed: log₂ N less the entropy of its posterior. Too much where the attacker is surer than it is right.
        proven: log₂ N less the posterior's surprise at the truth: of no more than the information in the scores,
            whoever they are from; below 0 where it is surer than it is right.
    """

    prior: float
    claimed: float
    proven: float


def bits(scores: Array, owner: Array, temperature: float = 1.0) -> Bits:
    """Return the bits leaked of linked probes.

    Args:
        scores: Log-likelihood ratios in nats, or what ``temperature`` makes into such.
        owner: (probes,).
        temperature: Scores are divided by it; of :func:`temperature` on other people.
    """
    require(temperature > 0, "temperature > 0", temperature=temperature)
    linked = require_scores(scores, owner)
    require(len(linked) >= 1, "a probe with an owner")
    logs = special.log_softmax(scores[linked] / temperature, axis=1)
    own = logs[np.arange(len(linked)), owner[linked]]
    entropy = special.entr(np.exp(logs)).sum(1).mean()
    prior = np.log(scores.shape[1])
    nats = {"prior": prior, "claimed": prior - entropy, "proven": prior + own.mean()}
    return Bits(**{name: float(value / np.log(2)) for name, value in nats.items()})


def temperature(scores: Array, owner: Array) -> float:
    """Return the temperature at which the truth surprises least; of other people than those judged."""

    def surprise(log: float) -> float:
        return -bits(scores, owner, float(np.exp(log))).proven

    return float(np.exp(optimize.minimize_scalar(surprise, bounds=(-_SHARPEST, _SHARPEST), method="bounded").x))


def sigmas(scores: Array, owner: Array, rng: np.random.Generator, draws: int = DRAWS, level: float = LEVEL) -> Interval:
    """Return how far own pairs lie above pairs of two people, in standard deviations of the latter.

    (mean of own pairs − mean of others)/σ of others, over linked probes and all candidates. People are drawn again, not
    pairs: whoever is drawn twice is there twice as probe and as candidate, and no pair of two copies counts as others.

    Args:
        scores: (probes, candidates), finite.
        owner: (probes,); every candidate has one probe at most.
        rng: Draws people.
        draws: Of the bootstrap.
        level: Of its percentile interval.
    """
    linked = require_scores(scores, owner)
    table, own = scores[linked], owner[linked]
    require(len(linked) >= 2 and table.shape[1] >= 2, "two linked probes", linked=len(linked))
    require(len(np.unique(own)) == len(own), "one probe at most of a candidate")
    require(bool(np.isfinite(table).all()), "finite scores")
    people = table.shape[1]
    weights = np.ones((draws + 1, people))
    weights[1:] = rng.multinomial(people, np.full(people, 1 / people), draws)
    values = _sigmas(table, own, weights)
    drawn = values[1:][~np.isnan(values[1:])]  # a draw may have no linked pair, or no other
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if len(drawn) else (-np.inf, np.inf)
    name = "percentile bootstrap of people"
    return Interval(estimate=float(values[0]), low=float(low), high=float(high), level=level, method=name)


def _sigmas(table: Array, own: Array, weights: Array) -> Array:
    """Return the statistic at each row of ``weights`` of candidates, (draws,)."""
    rows = weights[:, own]  # a probe counts as its own candidate does
    mine = table[np.arange(len(own)), own]
    apart = table - mine.mean()  # of about the size of σ: squares lose nothing

    def others(values: Array) -> Array:
        every = np.einsum("dp,dp->d", rows, weights @ values.T)
        return np.asarray(every - (rows * rows) @ values[np.arange(len(own)), own])

    with np.errstate(divide="ignore", invalid="ignore"):
        n = others(np.ones_like(table))
        mean = others(apart) / n
        spread = np.sqrt(np.maximum(others(apart**2) / n - mean**2, 0))
        gap = rows @ (mine - mine.mean()) / rows.sum(1) - mean
        return np.asarray(np.where((spread == 0) & (gap == 0), 0.0, gap / spread))


def epsilon(scores: Array, owner: Array, rng: np.random.Generator, level: float = LEVEL) -> EpsilonBound:
    """Return the ε that linkage refutes: hits are own pairs above a threshold, false alarms decoys and strangers.

    A false alarm's pair is a decoy and a candidate who is nobody's owner, each used once: no person is in two pairs.
    Under ε-DP of one record's release, replaced by another's, the rates of the two differ by a factor e^ε at most.

    Raises:
        SpecError: under 2 linked probes, 2 decoys, or 2 candidates who own no probe.
    """
    linked = require_scores(scores, owner)
    own = owner[linked]
    require(len(np.unique(own)) == len(own), "one probe at most of a candidate")
    decoys = rng.permutation(np.flatnonzero(owner < 0))
    strangers = rng.permutation(np.setdiff1d(np.arange(scores.shape[1]), own))
    n = min(len(decoys), len(strangers))
    require(min(len(own), n) >= 2, "2 linked probes, 2 decoys and 2 strangers", linked=len(own), pairs=n)
    rule = clopper_pearson.rule()
    bound = multi_split(scores[linked, own], scores[decoys[:n], strangers[:n]], rule, rng, level=level)
    return EpsilonBound(epsilon=bound.epsilon, delta=0.0, level=level, method=bound.method, assumes=ASSUMES, mu=None)
