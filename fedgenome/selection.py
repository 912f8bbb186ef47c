"""What a selection is, in plain numbers (DESIGN §5, *select*): scale, noise, reach and what δ pays for.

It stands below ``query``, whose width and digest depend on it, and is all that the parties compute by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from fedgenome.errors import require

PARTIES = 3
MOST_SCORES = 1 << 20
MOST_DRAWS = 1 << 26  # noise that a party holds for one query: 512 MiB
WRAP_TAIL = 46.0  # exp(−46) = 1e-20 bounds the chance that any of a winner's 3m draws is beyond the limit
_FINEST = 1 << 20  # scores may be multiples of 2^-20
_EXACT = 2.0**53  # sums of scores are float64 integers on their way


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is selected. Scores are integers (ring units).

    Attributes:
        scores: Their number m.
        winners: How many are wanted, largest first.
        epsilon: Privacy cost of one winner.
        sensitivity: Δs, by which one unit can move any one score.
        units: Public bound D on the number of units.
        monotone: Adding a unit moves all scores the same way, or not at all; half the noise then does.
    """

    scores: int
    winners: int
    epsilon: float
    sensitivity: int
    units: int
    monotone: bool = False

    def __post_init__(self) -> None:
        require(1 <= self.winners <= self.scores, "1 <= winners <= scores", winners=self.winners, scores=self.scores)
        require(self.scores <= MOST_SCORES, f"at most {MOST_SCORES} scores", scores=self.scores)
        draws = self.scores * self.winners
        require(draws <= MOST_DRAWS, f"at most {MOST_DRAWS} scores times winners", draws=draws)
        require(0 < self.epsilon < math.inf, "0 < epsilon < inf", epsilon=self.epsilon)
        require(self.sensitivity >= 1 and self.units >= 1, "sensitivity and units of at least 1")
        require(self.units * self.sensitivity <= _EXACT, "sums of scores up to 2^53", units=self.units)
        require(self.limit < 2.0**62, "noised scores below 2^62", limit=self.limit)

    @property
    def rate(self) -> Fraction:
        """Rate of each party's noise, P(k) ∝ exp(−rate·k): ε/2Δs, or ε/Δs for monotone scores. Exact."""
        return Fraction(self.epsilon) / (self.sensitivity * (1 if self.monotone else 2))

    @property
    def limit(self) -> float:
        """Largest magnitude of a noised score: D·Δs + 3·(46 + ln 3m)/rate, but for a chance of e^-46 a winner."""
        noise = PARTIES * (WRAP_TAIL + math.log(PARTIES * self.scores)) / float(self.rate)
        return self.units * self.sensitivity + noise

    @property
    def width(self) -> Literal[32, 64]:
        """Bits of the smallest ring in which differences of noised scores keep their sign."""
        return 32 if self.limit < 2.0**30 else 64


def scale_of(bound: float) -> float:
    """Return ring units per unit of score: the least power of two s ≥ 1 for which s·Δs is whole.

    Scores are then multiples of 1/s, and nothing is rounded behind a method's back.

    Raises:
        SpecError: Δs = ``bound`` is no multiple of 2^-20.

    >>> scale_of(1.0), scale_of(0.375), scale_of(1000.0)
    (1.0, 8.0, 1.0)
    """
    finest = Fraction(bound).denominator
    require(finest <= _FINEST, "a bound of scores that is a multiple of 2^-20", bound=bound)
    return float(finest)
