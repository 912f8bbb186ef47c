"""Batches that are priced as Poisson samples and are none: of a fixed size, by one coin for all, the same every round.

A correct sample is :func:`fedgenome.privacy.coins.chosen`'s: a coin for each donor and query, so that sizes of
samples vary as a binomial does, and two samples have a donor in common with chance q².
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from experiments.bug_zoo.verdicts import Detector, Verdict, unlikely
from fedgenome.audit.bounds.poisson import overlaps_p_value, sizes_p_value
from fedgenome.privacy.coins import chosen
from fedgenome.query import Array
from fedgenome.streams import Root

ROUNDS, RATE = 200, 0.2
DONORS = tuple(f"donor-{i}" for i in range(300))
_ROOT = Root.simulation(5, "site", "north")
_SIZES = Detector(
    name="audit.bounds.poisson", statistic="p of binomial batch sizes, two-sided, below 1e-6", fires=unlikely
)
_OVERLAP = Detector(name="audit.bounds.poisson", statistic="p of donors in common, below 1e-6", fires=unlikely)


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on sampling."""
    rounds = range(ROUNDS)
    correct, shuffled, shared = (np.stack([draw(step) for step in rounds]) for draw in (coins, _shuffled, _shared))
    sizes = sizes_p_value(correct, RATE)
    yield _SIZES.once("batches of a fixed size", sizes_p_value(shuffled, RATE), sizes)
    yield _SIZES.once("one coin for all donors", sizes_p_value(shared, RATE), sizes)
    again = overlaps_p_value(np.stack([coins(0)] * ROUNDS), RATE)
    yield _OVERLAP.once("the same batch in every round", again, overlaps_p_value(correct, RATE))


def coins(step: int) -> Array:
    """Return the library's sample of a query, bool (donors,)."""
    return chosen(_ROOT, ("m", step, 0), DONORS, RATE)


def _shuffled(step: int) -> Array:
    rng = _ROOT.stream("shuffle", step).generator()
    return np.asarray(rng.permutation(len(DONORS)) < RATE * len(DONORS))


def _shared(step: int) -> Array:
    """The key without the donor's id."""
    return np.repeat(chosen(_ROOT, ("m", step, 0), ("",), RATE), len(DONORS))
