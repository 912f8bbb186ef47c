"""Rows of the tables: one a kind of model, epoch and rate, one of its people, and one of what each vector misses."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from experiments.memorization.cell import Cell
from experiments.memorization.pooled import Pooled, coins, of_rate
from fedgenome.audit.bounds import effects, ranking
from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.language import extraction, perplexity
from fedgenome.audit.language.score import Score
from fedgenome.audit.results import LEVEL, Interval
from fedgenome.query import Array

SAMPLES, CHANCE = 1000, 0.5  # a canary is said within so many samples with this probability
SEEN = 0.2  # lower end of a vector's effect from which it has seen what another one missed
PEOPLE = "perplexity of people"
Row = dict[str, Any]


class Kind(NamedTuple):
    """Runs that differ by their seeds alone."""

    data: str
    model: str
    capacity: str
    trained: str
    epsilon: float | None

    @property
    def words(self) -> str:
        """The kind in words."""
        price = "" if self.epsilon is None else f", epsilon {self.epsilon:g}"
        return f"{self.data}, {self.model}, {self.capacity}, {self.trained}{price}"


def kind_of(cell: Cell) -> Kind:
    """Return what kind of run a cell is."""
    return Kind(cell.data, cell.architecture, cell.capacity, cell.regime, cell.epsilon)


def of_canaries(kind: Kind, pooled: Pooled, epoch: int, rates: Collection[int] = ()) -> Iterator[Row]:
    """Yield a row for what was not planted, and one for each rate; or for those of ``rates`` alone."""
    repeats, seen, control = pooled.canaries.repeats, pooled.seen, pooled.canaries.control
    for rate in (0, *pooled.canaries.rungs):
        if rates and rate not in rates:
            continue
        mine = (repeats == rate) & ~pooled.canaries.coin
        row = _head(kind, pooled, epoch) | {
            "copies": rate,
            "of": int(mine.sum()),
            "bits a base": _mean(seen.bits[mine]),
        }
        if rate:
            apart = perplexity.gap(seen.bits[mine], seen.bits[control])
            row |= {"bits less": _told(apart.bits), "AUC": _told(apart.auc)}
        row |= {
            "exposure": None if seen.exposure is None else _mean(seen.exposure[mine]),
            "said": None if seen.extracted is None else _share(seen.extracted[mine]),
            "in 1,000 samples": _sampled(pooled.rest[mine]),
            "taken for members": _share(pooled.member[mine]),
        }
        yield row | (_worst(of_rate(pooled, (rate,))) if rate else {})


def of_people(kind: Kind, pooled: Pooled, epoch: int) -> Row:
    """Return the row of members beside people in no training data: every window once.

    Bits a base are those of the people in no training data.
    """
    members, others = pooled.people
    apart = perplexity.gap(members, others)
    return _head(kind, pooled, epoch) | {
        "copies": "people",
        "of": len(members),
        "bits a base": _mean(others),
        "bits less": _told(apart.bits),
        "AUC": _told(apart.auc),
        "AUC beside a chain": _told(ranking.auc_interval(-pooled.surprise[0], -pooled.surprise[1])),
    }


def of_coins(kind: Kind, pooled: Pooled, epoch: int, delta: float) -> Row:
    """Return the row of canaries that coins planted once or not: which ε their guesses refute."""
    found, of = coins(pooled, delta), int(pooled.canaries.coin.sum())
    return _head(kind, pooled, epoch) | {"copies": "by coins", "of": of, "refuted epsilon": _short(found.epsilon)}


def lower_ends(pooled: Pooled, rate: int) -> dict[str, float]:
    """Return the lower end of each vector's effect on the canaries of one rate, and of perplexity's on people.

    Those of canaries hold together, and that of people by itself.
    """
    found = {each.vector: each.low for each in of_rate(pooled, (rate,)).worst.effects}
    members, others = pooled.people
    return found | {PEOPLE: effects.ranking(PEOPLE, -members, -others, effects.tails_for(1)).low}


def of_misses(cases: Mapping[str, Mapping[str, float]]) -> Iterator[Row]:
    """Yield, for each vector, in how many cases it sees nothing where another one does, and the clearest case.

    Args:
        cases: :func:`lower_ends` by the case, in words.
    """
    best = {case: max(ends, key=lambda name: ends[name]) for case, ends in cases.items()}
    for vector in sorted({name for ends in cases.values() for name in ends}):
        there = [case for case, ends in cases.items() if vector in ends]
        missed = {case: cases[case][best[case]] for case in there if cases[case][vector] <= 0}
        clear = [case for case, low in missed.items() if low >= SEEN]
        row: Row = {"missed by": vector, "missed": len(clear), "cases": len(there)}
        if clear:
            case = max(clear, key=missed.__getitem__)
            row |= {"for example": case, "seen by": f"{best[case]}, lower end {missed[case]:.2f}"}
        yield row


def words(kind: Kind, epoch: int, rate: int) -> str:
    """Return a case in words."""
    return f"{kind.words}, epoch {epoch}, {rate} {'copy' if rate == 1 else 'copies'}"


def _head(kind: Kind, pooled: Pooled, epoch: int) -> Row:
    price = "none" if kind.epsilon is None else f"{kind.epsilon:g}"
    return {**kind._asdict(), "epsilon": price, "seeds": pooled.seeds, "epoch": epoch}


def _worst(score: Score) -> Row:
    worst = score.worst
    return {"score": [_short(each) for each in (worst.estimate, worst.low, worst.high)], "by": worst.vector}


def _told(found: Interval) -> list[float]:
    return [_short(each) for each in (found.estimate, found.low, found.high)]


def _mean(values: Array) -> list[float]:
    """Return the mean with Student's interval."""
    middle = float(values.mean())
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return [_short(each) for each in (middle, middle - reach, middle + reach)]


def _share(found: Array) -> list[float]:
    """Return the share with Clopper and Pearson's interval."""
    hits, tail = int(found.sum()), (1 - LEVEL) / 2
    return [_short(each) for each in (hits / len(found), *binomial_bounds(hits, len(found), tail))]


def _sampled(rest: Array) -> list[float] | None:
    return None if np.isnan(rest).all() else _share(extraction.probably_discoverable(rest, SAMPLES, CHANCE))


def _short(value: float) -> float:
    return round(float(value), 4)
