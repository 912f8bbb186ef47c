"""What the noisy histograms of ``methods.membership`` say: an AUC with an interval that counts the noise in.

Nothing here reads a person: counts of members and of held donors were noised and paid for before they came, so
whatever is computed from them may leave. Sites held donors by coins of their own, so given the release members and
held donors are exchangeable unless the release depends on who was trained on.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import stats

from fedgenome.audit.bounds import effects, one_run
from fedgenome.audit.bounds.effects import Effect, Tails
from fedgenome.audit.bounds.one_run import Guesses
from fedgenome.audit.results import LEVEL, Canaries, Charged, Interval
from fedgenome.errors import require
from fedgenome.query import Array

METHOD = "normal, DeLong's variance of binned scores (null variance at least) and that of the noise"
_FEWEST = 10.0  # noisy members, or held donors: below, there is nothing to divide by
_NOISE = 1e-4  # chance, of the p-value of guesses, that their noise hides more wrong ones than are allowed for
_ROUNDING = 1e-6  # of sums that are whole numbers
_SURE = 5.0  # standard deviations of its noise by which a total must exceed that


def found(name: str, counts: Array, noise: float, level: float = LEVEL) -> Charged:
    """Return what ``counts`` say.

    The AUC's variance is that of scores in bins (DeLong), at least what it is by chance, plus the variance that
    independent noise of every count brings to first order.

    Args:
        name: What to call it.
        counts: Noisy counts, float (2, bins): members, held donors; the bin of the nearest first.
        noise: Standard deviation of each count; 0 where nothing is noised.
        level: Two-sided confidence.
    """
    require(counts.ndim == 2 and len(counts) == 2, "counts of members and of held donors", shape=counts.shape)
    require(noise >= 0 and bool(np.isfinite(counts).all()), "finite counts and noise >= 0", noise=noise)
    members, held = (float(total) for total in counts.sum(axis=1))
    told = {"name": name, "members": members, "held": held, "noise": noise}
    if min(members, held) < _FEWEST + _SURE * noise * math.sqrt(counts.shape[1]):
        return Charged(**told, auc=None, p_value=1.0, detectable_auc=1.0)  # type: ignore[arg-type]
    area, deviation, null = _area(counts, noise)
    z = float(stats.norm.isf((1 - level) / 2))
    return Charged(
        **told,  # type: ignore[arg-type]
        auc=Interval(
            estimate=min(1.0, max(0.0, area)),
            low=min(1.0, max(0.0, area - z * deviation)),
            high=max(0.0, min(1.0, area + z * deviation)),
            level=level,
            method=METHOD,
        ),
        p_value=float(stats.norm.sf((area - 0.5) / deviation)),
        detectable_auc=min(1.0, 0.5 + float(stats.norm.isf(1 - LEVEL) + stats.norm.isf(0.2)) * null),
    )


def guessed(guess: Array, right: float, noise: float, delta: float, claimed: float | None) -> Canaries | None:
    """Return the ε that noisily counted right guesses refute; None if nothing was guessed.

    Half of 5 % is for the noise: the number of right guesses is taken down by its quantile. The other half is the
    one-run bound's. Coins of sites that gave no answer count as wrong.

    Args:
        guess: A guess for each canary, 0 for none.
        right: How many were right, with noise.
        noise: Its standard deviation.
        delta: δ of the guarantee tested.
        claimed: The ε that the plan claims.
    """
    made = int((guess != 0).sum())
    if not made:
        return None
    tail = (1 - LEVEL) / 2
    sure = min(made, max(0, math.floor(right - noise * float(stats.norm.isf(tail)) + _ROUNDING)))
    bound = one_run.epsilon(Guesses(canaries=len(guess), made=made, right=sure), delta, 1 - tail)
    return Canaries(
        canaries=len(guess),
        made=made,
        right=right,
        bound=replace(bound, level=LEVEL, method=f"{bound.method}, counts noised"),
        claimed=claimed,
        detectable=one_run.detectable(len(guess), made, delta, level=1 - tail),
    )


def ranking(vector: str, told: Charged, seen: Interval, tails: Tails) -> Effect:
    """Return 2·AUC − 1 of noisy histograms whose AUC is ``seen``."""
    # An end that was cut at 0 or 1 tells nothing of the deviation, but the other one does.
    deviation = max(seen.high - seen.estimate, seen.estimate - seen.low) / float(stats.norm.isf((1 - seen.level) / 2))
    low, high = (float(stats.norm.isf(tail)) * deviation for tail in (tails.low, tails.high))
    estimate = 2 * seen.estimate - 1
    return effects.effect(vector, estimate, estimate - 2 * low, estimate + 2 * high, told.p_value, tails)


def guessing(vector: str, told: Charged, seen: Canaries, tails: Tails) -> Effect:
    """Return 2v/r − 1 of the canaries ``seen``, v noisy.

    Half of each tail is for the noise, as in :func:`guessed`; p pays ``_NOISE`` for it.
    """
    delta, half = seen.bound.delta, Tails(low=tails.low / 2, high=tails.high / 2)

    def shifted(by: float) -> Guesses:
        """Return as many right guesses as there are at ``by`` deviations of the noise, rounded against the bound."""
        right = seen.right + by * told.noise
        whole = math.ceil(right - _ROUNDING) if by > 0 else math.floor(right + _ROUNDING)
        return Guesses(canaries=seen.canaries, made=seen.made, right=min(seen.made, max(0, whole)))

    quantile = stats.norm.isf
    return effects.effect(
        vector,
        2 * seen.right / seen.made - 1,
        effects.guessing(vector, shifted(-quantile(half.low)), delta, half).low,
        effects.guessing(vector, shifted(quantile(half.high)), delta, half).high,
        one_run.p_value(shifted(-quantile(_NOISE)), 0.0, delta) + _NOISE,
        tails,
    )


def _area(counts: Array, noise: float) -> tuple[float, float, float]:
    """Return the AUC, its standard deviation, and the same where nothing leaks."""
    totals = counts.sum(axis=1)
    inside, outside = counts / totals[:, None]
    beaten = outside[::-1].cumsum()[::-1] - outside / 2  # share of held donors farther than a member of each bin
    beating = inside.cumsum() - inside / 2
    area = float(inside @ beaten)
    spread = [(np.maximum(share, 0) @ (place - area) ** 2) for share, place in ((inside, beaten), (outside, beating))]
    sampled = float(spread[0] / totals[0] + spread[1] / totals[1])
    null = float((totals.sum() + 1) / (12 * totals.prod()))
    noised = noise**2 * float(
        ((beaten - area) ** 2).sum() / totals[0] ** 2 + ((beating - area) ** 2).sum() / totals[1] ** 2
    )
    return area, math.sqrt(max(sampled, null) + noised), math.sqrt(null + noised)
