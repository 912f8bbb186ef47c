"""Runs that differ by their seeds alone, pooled: what was seen of all their canaries and people after one epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from experiments.memorization import worlds
from experiments.memorization.cell import PLANTED, Cell, Figures
from fedgenome.audit.bounds import effects, one_run
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.language.canaries import Canaries
from fedgenome.audit.language.score import Looks, Score, Seen, judge
from fedgenome.audit.results import LEVEL, EpsilonBound
from fedgenome.query import Array

AT_BITS = 7.0  # exposure that stands out: 1 in 128 by chance
FALSE_ALARMS = 0.05  # share of canaries that were not planted above the threshold of membership


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pooled:
    """What models of one kind show.

    Attributes:
        canaries: Of all seeds, those left out that thresholds are fixed by.
        seen: Of each.
        member: Whether a canary's score is above its model's threshold, bool (canaries,).
        rest: log p of what it goes on with, nats, (canaries,), NaN of a masked model.
        people: Bits a base of members and of others.
        surprise: The same less those of a chain of public windows.
        off: How far from 1 the probabilities of all strings add up, at most.
        seeds: How many.
    """

    canaries: Canaries
    seen: Seen
    member: Array
    rest: Array
    people: tuple[Array, Array]
    surprise: tuple[Array, Array]
    off: float
    seeds: int


def pool(runs: Sequence[tuple[Cell, Figures]], epoch: int) -> Pooled:
    """Return what runs of one kind show after ``epoch``."""
    parts = [_part(cell, figures, epoch) for cell, figures in runs]
    looked = [figures["epochs"][str(epoch)] for _, figures in runs]
    members, others = (np.concatenate([np.array(each[who]) for each in looked]) for who in ("members", "others"))
    chains = [np.concatenate([figures[f"{who} by the chain"] for _, figures in runs]) for who in ("members", "others")]
    drawn, bits, exposure, extracted, member, rest = zip(*parts, strict=True)
    names = ("tokens", "repeats", "coin", "site")
    every = Canaries(**{name: np.concatenate([getattr(each, name) for each in drawn]) for name in names})
    return Pooled(
        canaries=every,
        seen=Seen(
            bits=np.concatenate(bits),
            reference=np.full(len(every), 2.0),
            exposure=np.concatenate(exposure),
            extracted=np.concatenate(extracted),
        ),
        member=np.concatenate(member),
        rest=np.concatenate(rest),
        people=(members, others),
        surprise=(members - chains[0], others - chains[1]),
        off=max(each["off"] for each in looked),
        seeds=len(runs),
    )


def _part(cell: Cell, figures: Figures, epoch: int) -> tuple[Canaries, Array, Array, Array, Array, Array]:
    """Return the canaries of one run that are judged, their bits, exposures, and what was found of them.

    Half of what was not planted fixes the threshold of membership; only the other half is compared with.
    """
    looked = figures["epochs"][str(epoch)]
    drawn, _ = worlds.planted(cell.data, cell.scale, cell.seed)
    never = np.flatnonzero(drawn.control)
    population, judged = never[::2], np.setdiff1d(np.arange(len(drawn)), never[::2])
    bits = np.array(looked["bits"])
    threshold = np.quantile(-bits[population], 1 - FALSE_ALARMS, method="higher")
    rest = np.array(looked["rest"]) if looked["rest"] else np.full(len(bits), np.nan)
    rates = PLANTED.get(cell.regime)
    if rates:
        drawn = replace(drawn, repeats=worlds.kept(drawn.repeats, rates))
    found = (np.array(looked["exposure"]), np.array(looked["extracted"], np.bool_), -bits > threshold, rest)
    return (drawn[judged], bits[judged], *(each[judged] for each in found))  # type: ignore[return-value]


def of_rate(pooled: Pooled, rates: Sequence[int], level: float = LEVEL) -> Score:
    """Return the score of the canaries of some rates alone, beside those that were not planted."""
    planted = np.isin(pooled.canaries.repeats, rates) & (pooled.canaries.repeats > 0)
    chosen = (planted | pooled.canaries.control) & ~pooled.canaries.coin
    canaries, seen, member = pooled.canaries[chosen], pooled.seen, pooled.member[chosen]
    planted = canaries.repeats > 0
    counts = Counts(
        hits=int(member[planted].sum()),
        members=int(planted.sum()),
        false_alarms=int(member[~planted].sum()),
        controls=int((~planted).sum()),
    )
    some = Seen(
        bits=seen.bits[chosen],
        reference=seen.reference[chosen],
        exposure=None if seen.exposure is None else seen.exposure[chosen],
        extracted=None if seen.extracted is None else seen.extracted[chosen],
    )
    looks = Looks(least=min(rates), at_bits=AT_BITS)
    return judge(some, canaries, looks, [partial(effects.advantage, "membership", counts)], level)


def coins(pooled: Pooled, delta: float, level: float = LEVEL) -> EpsilonBound:
    """Return the ε that guesses of the canaries planted by coins refute: half of them are guessed, half of those "in".

    Seeds train on different people and canaries: all of their models together keep what each promises.
    """
    mine = pooled.canaries.coin
    each = int(mine.sum()) // 4
    guesses = one_run.guess(pooled.seen.score[mine], pooled.canaries.repeats[mine] > 0, each, each)
    return one_run.epsilon(guesses, delta, level)
