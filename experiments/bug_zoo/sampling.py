"""Batches that are priced as Poisson samples and are none: of a fixed size, by one coin for all, the same every round.

A correct sample is :func:`fedgenome.privacy.coins.chosen`'s: a coin for each donor and query, so that sizes of
samples vary as a binomial does, and two samples have a donor in common with chance q².
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import stats

from experiments.bug_zoo.verdicts import Detector, Verdict, unlikely
from fedgenome.privacy.coins import chosen
from fedgenome.query import Array
from fedgenome.streams import Root

ROUNDS, RATE = 200, 0.2
DONORS = tuple(f"donor-{i}" for i in range(300))
_ROOT = Root.simulation(5, "site", "north")
_SIZES = Detector(name="scipy.stats.chi2", statistic="p of binomial batch sizes, two-sided, below 1e-6", fires=unlikely)
_OVERLAP = Detector(name="scipy.stats.binomtest", statistic="p of donors in common, below 1e-6", fires=unlikely)
Draw = Callable[[int], Array]


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on sampling."""
    rounds = range(ROUNDS)
    correct = of_sizes(coins, rounds)
    yield _SIZES.once("batches of a fixed size", of_sizes(_shuffled, rounds), correct)
    yield _SIZES.once("one coin for all donors", of_sizes(_shared, rounds), correct)
    again = of_overlaps(lambda _: coins(0), rounds)
    yield _OVERLAP.once("the same batch in every round", again, of_overlaps(coins, rounds))


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
