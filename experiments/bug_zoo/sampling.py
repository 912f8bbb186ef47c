"""Batches that are priced as Poisson samples and are none: of a fixed size, by one coin for all, the same every round.

A correct sample is :func:`fedgenome.privacy.coins.chosen`'s: a coin for each donor and query, so that sizes of
samples vary as a binomial does, and two samples have a donor in common with chance q².
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import stats

from experiments.bug_zoo.verdicts import Verdict, once, unlikely
from fedgenome.privacy.coins import chosen
from fedgenome.query import Array
from fedgenome.streams import Root

ROUNDS, RATE = 400, 0.2
DONORS = tuple(f"donor-{i}" for i in range(300))
_ROOT = Root.simulation(5, "site", "north")
_SIZES = "p of binomial batch sizes, two-sided χ², below 1e-6"
Draw = Callable[[int], Array]


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on sampling."""
    rounds = range(ROUNDS)
    for bug, draw in (("batches of a fixed size", _shuffled), ("one coin for all donors", _shared)):
        found = (of_sizes(each, rounds) for each in (draw, coins))
        yield once(bug, "scipy.stats.chi2", _SIZES, *found, unlikely)
    found = (of_overlaps(each, rounds) for each in (lambda _: coins(0), coins))
    yield once(
        "the same batch in every round", "scipy.stats.binomtest", "p of donors in common, below 1e-6", *found, unlikely
    )


def coins(step: int) -> Array:
    """Return the library's sample of a query, bool (donors,)."""
    return chosen(_ROOT, ("m", step, 0), DONORS, RATE)


def _shuffled(step: int) -> Array:
    rng = _ROOT.stream("shuffle", step).generator()
    return np.asarray(rng.permutation(len(DONORS)) < RATE * len(DONORS))


def _shared(step: int) -> Array:
    """The key without the donor's id."""
    return np.repeat(chosen(_ROOT, ("m", step, 0), ("",), RATE), len(DONORS))


def of_sizes(draw: Draw, rounds: Sequence[int]) -> float:
    """Return the p-value of "batch sizes vary as Binomial(n, q)", two-sided: neither too much nor too little."""
    n = len(DONORS)
    sizes = np.array([draw(step).sum() for step in rounds])
    statistic = float(((sizes - n * RATE) ** 2).sum() / (n * RATE * (1 - RATE)))
    law = stats.chi2(len(rounds))
    return float(2 * min(law.cdf(statistic), law.sf(statistic)))


def of_overlaps(draw: Draw, rounds: Sequence[int]) -> float:
    """Return the p-value of "neighbouring rounds share a donor with chance q²"."""
    common = sum(int((draw(step) & draw(step + 1)).sum()) for step in rounds[::2])
    return float(stats.binomtest(common, len(rounds[::2]) * len(DONORS), RATE**2).pvalue)
