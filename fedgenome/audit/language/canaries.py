"""Made-up sequences that are planted in the training data at known rates, to be looked for in the model.

A canary is the beginning of a window; what follows it is drawn like the data. Canaries come from a law that is public:
uniform over all strings, a Markov chain of public sequences, or mosaics of public haplotypes; never from members or
controls. All of one law are independent draws, whichever are planted then, so that what was not planted shows what
chance does. Each copy that is planted is a donor of its own: a guarantee of ε for a donor is one of rε for r copies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fedgenome.audit.language.markov import Markov
from fedgenome.errors import SpecError, require
from fedgenome.query import Array

RATES = (1, 2, 4, 8, 16, 32, 64)
_TRIES = 100  # draws for as many canaries that differ, before a law is said to have too few strings

Law = Callable[[int, np.random.Generator], Array]  # (count, rng) -> int64 (count, length), independent draws


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """How many canaries are planted how often.

    Attributes:
        rates: Copies of a planted canary, one rung each.
        each: Canaries a rung.
        controls: Canaries that are drawn and not planted.
        coins: Further canaries, each planted once or not by a fair coin of its own, for bounds on ε from one run.
    """

    rates: tuple[int, ...] = RATES
    each: int = 16
    controls: int = 100
    coins: int = 0

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.rates), self.rates, strict=False))
        require(rising, "rates of 1 or more, rising", rates=self.rates)
        require(min(self.each, self.controls, self.coins) >= 0, "numbers of 0 or more")
        require(self.size >= 1, "at least one canary")

    @property
    def size(self) -> int:
        """Number of canaries."""
        return len(self.rates) * self.each + self.coins + self.controls


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canaries:
    """Canaries, and how often each is planted.

    Attributes:
        tokens: All known ones, int64 (canaries, length).
        repeats: Copies of each, int64 (canaries,); 0: not planted.
        coin: Whether a fair coin decided between 0 and 1, bool (canaries,).
        site: Where its copies are planted, int64 (canaries,).
    """

    tokens: Array
    repeats: Array
    coin: Array
    site: Array

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, chosen: Array) -> Canaries:
        """Return the canaries that an index or mask picks."""
        parts = (self.tokens, self.repeats, self.coin, self.site)
        return Canaries(**dict(zip(("tokens", "repeats", "coin", "site"), (p[chosen] for p in parts), strict=True)))

    @property
    def rungs(self) -> tuple[int, ...]:
        """The rates of the ladder that was drawn, rising, coins left out."""
        found = np.unique(self.repeats[~self.coin])
        return tuple(int(rate) for rate in found if rate > 0)

    @property
    def control(self) -> Array:
        """Which were never to be planted, bool (canaries,)."""
        return np.asarray((self.repeats == 0) & ~self.coin)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planting:
    """Rows of training data that begin with canaries.

    Attributes:
        rows: A window for every canary, planted or not, int64 (canaries, window).
        repeats: How often each is added, int64 (canaries,).
        length: Tokens of a row that are the canary's.
    """

    rows: Array
    repeats: Array
    length: int

    @property
    def added(self) -> tuple[Array, Array]:
        """The rows to add, (rows, window), and how often each, (rows,)."""
        planted = self.repeats > 0
        return self.rows[planted], self.repeats[planted]


def uniform(vocabulary: int, length: int) -> Law:
    """Return the law of all V^L strings alike: the one that exact exposure and its bounds on ε are about."""
    return lambda count, rng: rng.integers(0, vocabulary, (count, length))


def matched(chain: Markov, length: int) -> Law:
    """Return the law of a Markov chain of public sequences: random, but with the data's short-range habits."""
    return lambda count, rng: chain.draw(count, length, rng)


def mosaic(public: Array, length: int, switch: float) -> Law:
    """Return the law of mosaics: a copy of a public haplotype, which goes on as another at rate ``switch`` a token.

    Args:
        public: Aligned windows of public people, int (haplotypes, at least ``length``), known tokens only.
        length: Tokens of a canary.
        switch: Chance of a new haplotype, drawn from all, before each token but the first.
    """
    require(0 <= switch <= 1, "0 <= switch <= 1", switch=switch)
    require(len(public) >= 1 and public.shape[1] >= length, "public windows of the length", shape=public.shape)

    def draw(count: int, rng: np.random.Generator) -> Array:
        fresh = rng.integers(0, len(public), (count, length))
        begins = np.where(rng.random((count, length)) < switch, np.arange(length), 0)
        since = np.maximum.accumulate(begins, axis=1)  # where the piece began that a token belongs to
        return public[np.take_along_axis(fresh, since, 1), np.arange(length)].astype(np.int64)

    return draw


def drawn(law: Law, ladder: Ladder, rng: np.random.Generator, known: Array | None = None) -> Canaries:
    """Return canaries of ``law`` on the ladder: no two alike, so that no control is planted under another's name.

    Args:
        law: What a canary is drawn from.
        ladder: How many are planted how often.
        rng: Draws canaries and coins.
        known: Public strings that no canary may be, int (strings, length): a mosaic of one piece is a haplotype.

    Raises:
        SpecError: the law has too few strings.
    """
    tokens = _different(law, ladder.size, rng, known)
    steps = np.repeat(np.array(ladder.rates, np.int64), ladder.each)
    coins = rng.integers(0, 2, ladder.coins)
    repeats = np.concatenate([steps, coins, np.zeros(ladder.controls, np.int64)])
    coin = np.zeros(len(repeats), np.bool_)
    coin[len(steps) : len(steps) + ladder.coins] = True
    return Canaries(tokens=tokens, repeats=repeats, coin=coin, site=np.zeros(len(repeats), np.int64))


def _different(law: Law, count: int, rng: np.random.Generator, known: Array | None) -> Array:
    """Return draws one after another, leaving out what was drawn before or is ``known``, int64 (count, length)."""
    taken = set() if known is None else {row.tobytes() for row in known.astype(np.int64)}
    kept: list[Array] = []
    for _ in range(_TRIES):
        for row in law(count, rng):
            if row.tobytes() not in taken:
                taken.add(row.tobytes())
                kept.append(row)
        if len(kept) >= count:
            return np.stack(kept[:count])
    raise SpecError(f"expected a law of {count} different strings at least, the known left out, got {len(kept)}")


def dealt(canaries: Canaries, sites: int, rng: np.random.Generator) -> Canaries:
    """Return the canaries parted by chance among ``sites``, every rung, the coins and the controls evenly."""
    require(sites >= 1, "sites >= 1", sites=sites)
    arm = np.where(canaries.coin, -1, canaries.repeats)  # where a canary goes must not tell its coin
    site = np.empty(len(canaries), np.int64)
    for each in np.unique(arm):
        here = np.flatnonzero(arm == each)
        site[here] = (rng.permutation(len(here)) + rng.integers(sites)) % sites
    return replace(canaries, site=site)


def plant(canaries: Canaries, public: Array, rng: np.random.Generator) -> Planting:
    """Return windows that begin with the canaries and go on as public windows do, each with one drawn for it.

    Every copy of a canary goes on alike. Canaries that are not planted have windows too, to compare with.

    Args:
        canaries: What is planted.
        public: Windows that nobody of the cohort contributed, int (rows, window).
        rng: Draws a window for each canary.
    """
    length = canaries.tokens.shape[1]
    require(len(public) >= 1 and public.shape[1] >= length, "public windows of the length", shape=public.shape)
    rows = public[rng.integers(0, len(public), len(canaries))].astype(np.int64)
    rows[:, :length] = canaries.tokens
    return Planting(rows=rows, repeats=canaries.repeats, length=length)
