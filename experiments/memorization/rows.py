"""Rows of the tables: one a kind of model, epoch and rate, one of its people, and one of what each vector misses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from experiments.memorization.cell import Cell, Figures
from experiments.memorization.pooled import Pooled, of_rate, pool
from fedgenome.audit.bounds import ranking
from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.language import extraction, perplexity
from fedgenome.audit.language.score import Score
from fedgenome.audit.results import LEVEL, Interval
from fedgenome.query import Array

SAMPLES, CHANCE = 1000, 0.5  # a canary is said within so many samples with this probability
SEEN = 0.2  # lower end of a vector's effect from which it has seen what another one missed
Row = dict[str, Any]
Kind = tuple[str, str, str, str, float | None]  # data, architecture, capacity, regime, ε


def kinds(runs: Mapping[Cell, Figures]) -> dict[Kind, list[tuple[Cell, Figures]]]:
    """Return the runs that differ by their seeds alone."""
    found: dict[Kind, list[tuple[Cell, Figures]]] = {}
    for cell, figures in runs.items():
        kind = (cell.data, cell.architecture, cell.capacity, cell.regime, cell.epsilon)
        found.setdefault(kind, []).append((cell, figures))
    return found


def epochs(runs: Sequence[tuple[Cell, Figures]]) -> tuple[int, ...]:
    """Return after which epochs they were looked at."""
    return runs[0][0].scale.epochs


def of_canaries(kind: Kind, pooled: Pooled, epoch: int) -> Iterator[Row]:
    """Yield a row for what was not planted, and one for each rate."""
    repeats, seen = pooled.canaries.repeats, pooled.seen
    control = pooled.canaries.control
    for rate in (0, *pooled.canaries.rungs):
        mine = (repeats == rate) & ~pooled.canaries.coin
        row = _head(kind, pooled, epoch) | {"repeats": rate, "of": int(mine.sum())}
        if rate:
            apart = perplexity.gap(seen.bits[mine], seen.bits[control])
            row |= {"bits less": _told(apart.bits), "AUC": _told(apart.auc)}
        row |= {
            "exposure": None if seen.exposure is None else _mean(seen.exposure[mine]),
            "extracted": None if seen.extracted is None else _share(seen.extracted[mine]),
            "in 1,000 samples": _sampled(pooled.rest[mine]),
            "taken for members": _share(pooled.member[mine]),
        }
        yield row | (_worst(of_rate(pooled, (rate,))) if rate else {})


def of_people(kind: Kind, pooled: Pooled, epoch: int) -> Row:
    """Return the row of members beside people in no training data: every window once."""
    apart = perplexity.gap(*pooled.people)
    return _head(kind, pooled, epoch) | {
        "repeats": "people",
        "of": len(pooled.people[0]),
        "bits less": _told(apart.bits),
        "AUC": _told(apart.auc),
        "AUC beside a chain": _told(ranking.auc_interval(*(-each for each in pooled.surprise))),
    }


def of_misses(scores: Mapping[str, Score]) -> Iterator[Row]:
    """Yield, for each vector, in how many cases it sees nothing where another one does, and the clearest case.

    Args:
        scores: By words for the case.
    """
    lows = {case: {each.vector: each.low for each in score.worst.effects} for case, score in scores.items()}
    for vector in sorted({name for each in lows.values() for name in each}):
        there = {case: each for case, each in lows.items() if vector in each}
        missed = {case: max(each.values()) for case, each in there.items() if each[vector] <= 0 < SEEN <= max(each.values())}
        row: Row = {"missed by": vector, "missed": len(missed), "cases": len(there)}
        if missed:
            case = max(missed, key=lambda each: missed[each])
            by = max(there[case], key=lambda each: there[case][each])
            row |= {"for example": case, "seen by": f"{by}, lower end {there[case][by]:.2f}"}
        yield row


def words(kind: Kind, epoch: int, rate: int) -> str:
    """Return a case in words."""
    return f"{_model(kind)}, epoch {epoch}, {rate} {'copy' if rate == 1 else 'copies'}"


def _model(kind: Kind) -> str:
    data, architecture, capacity, regime, epsilon = kind
    return ", ".join([data, architecture, capacity, regime, *([] if epsilon is None else [f"epsilon {epsilon:g}"])])


def _head(kind: Kind, pooled: Pooled, epoch: int) -> Row:
    names = ("data", "model", "capacity", "trained", "epsilon")
    told = dict(zip(names, kind, strict=True)) | {"seeds": pooled.seeds, "epoch": epoch}
    return told | {"epsilon": "none" if kind[-1] is None else f"{kind[-1]:g}"}


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
