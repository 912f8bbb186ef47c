"""Noise that is too little, not there, or not fresh: sites' own (trust local) and the three parties' joint noise.

A query's coordinates are noised independently, so that those of one long query stand for runs: half of them hold a
canary that puts the whole clip norm there, half hold nothing (:mod:`fedgenome.audit.bounds.white_box`). Noise that two
makers, or two attempts, should not share is looked at for correlation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import stats

from experiments.bug_zoo.verdicts import Detector, Verdict, unlikely
from fedgenome.audit.bounds import white_box
from fedgenome.federation import home
from fedgenome.query import PARTIES, Array, Mechanism, Query, Question, Terms, choose_scale
from fedgenome.secure import ring
from fedgenome.secure.noise import sampler
from fedgenome.streams import Root

LENGTH = 40_000  # coordinates: as many runs
BOUND, LEVEL = 1.0, 1.0
_SEED = 11
AMOUNT = Detector(
    name="audit.bounds.white_box.p_value", statistic="p of the noise multiplier charged, below 1e-6", fires=unlikely
)
_FRESHNESS = Detector(name="scipy.stats.pearsonr", statistic="p of no correlation, below 1e-6", fires=unlikely)
_TERMS = Terms(caps=(("north", 100), ("south", 100)), colluders=1, quorum=2, roster="", plan="")


def verdicts() -> Iterator[Verdict]:
    """Yield the verdicts on noise."""
    yield from _amount()
    yield from _freshness()


def _amount() -> Iterator[Verdict]:
    at_home, joint = query(LENGTH, at_home=True), query(LENGTH)

    def verdict(bug: str, asked: Query, broken: Array, correct: Array) -> Verdict:
        return AMOUNT.once(bug, p_value(asked, broken), p_value(asked, correct))

    full = of_site(at_home, root("north"))
    half = of_stream(at_home, at_home.sigma_home / 2, root("north"), "m", 0, 0)
    yield verdict("a site adds half of its noise", at_home, half, full)
    yield verdict("a site adds no noise", at_home, np.zeros(LENGTH), full)
    makers = parties()
    yield verdict("a party adds no noise", joint, of_parties(joint, makers[:2]), of_parties(joint, makers))


def _freshness() -> Iterator[Verdict]:
    asked, at_home = query(4000), query(4000, at_home=True)

    def verdict(bug: str, broken: Sequence[Array], correct: Sequence[Array]) -> Verdict:
        return _FRESHNESS.once(bug, stats.pearsonr(*broken).pvalue, stats.pearsonr(*correct).pvalue)

    sigma, (one, *_) = asked.sigma_party, parties()
    again = [of_stream(asked, sigma, one, "m", 0) for _ in range(2)]
    fresh = [of_stream(asked, sigma, one, "m", 0, attempt) for attempt in range(2)]
    yield verdict("the same noise in a second attempt", again, fresh)
    shared = [of_site(at_home, Root.simulation(_SEED, "site")) for _ in range(2)]
    yield verdict("two sites with one seed", shared, [of_site(at_home, root(site)) for site in ("north", "south")])
    twins = [of_parties(asked, [Root.simulation(_SEED, "party")]) for _ in range(2)]
    yield verdict("two parties with one seed", twins, [of_parties(asked, [party]) for party in parties()[:2]])


def query(length: int, *, at_home: bool = False) -> Query:
    """Return a query of the noise multiplier 1."""
    mechanism = Mechanism(kind="gaussian", level=LEVEL, where="home" if at_home else "parties")
    question = Question(payload={}, length=length, reply_length=length, bound=BOUND, mechanism=mechanism)
    return Query(
        question=question,
        study="",
        run="",
        method="m",
        step=0,
        attempt=0,
        scale=choose_scale(question, _TERMS),
        terms=_TERMS,
    )


def root(site: str) -> Root:
    """Return the randomness of a site, as the engine keys it."""
    return Root.simulation(_SEED, "site", site)


def parties() -> list[Root]:
    """Return that of the three parties."""
    return [Root.simulation(_SEED, "party", index) for index in range(PARTIES)]


def of_site(asked: Query, root: Root) -> Array:
    """Return what a site adds at home, in ring units."""

    def add(words: ring.Words) -> None:
        if drawn := home.begin_noise(asked, root, ("m", 0, 0)):
            drawn.add_to(words)

    return _added(asked, add)


def of_parties(asked: Query, roots: Sequence[Root]) -> Array:
    """Return what these parties add to a sum, in ring units."""
    return np.asarray(sum(of_stream(asked, asked.sigma_party, root, "m", 0, 0) for root in roots))


def of_stream(asked: Query, sigma: float, root: Root, *moment: str | int) -> Array:
    """Return noise of standard deviation ``sigma`` from the stream of a moment, in ring units."""
    return _added(asked, lambda words: sampler(sigma).add_to(words, root.stream("noise", *moment)))


def _added(asked: Query, add: Callable[[ring.Words], None]) -> Array:
    words: ring.Words = ring.encode(np.zeros(asked.question.length), asked.scale, asked.width)
    add(words)
    return ring.signed(words).astype(np.float64)


def p_value(asked: Query, noise: Array) -> float:
    """Return the p-value of "the noise is what ``asked`` charges for", by canaries on half of the coordinates."""
    canary = asked.scale * asked.question.bound
    middle = len(noise) // 2
    found = white_box.noise_found(noise[:middle] + canary, noise[middle:], canary / 2)
    return white_box.p_value(found.counts, canary / charged(asked))


def charged(asked: Query) -> float:
    """Return the standard deviation that all makers' noise together should have, in ring units."""
    return asked.sigma_home or asked.sigma_party * float(np.sqrt(PARTIES))
