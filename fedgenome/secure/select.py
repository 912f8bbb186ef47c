"""Secure noisy argmax: which of m scores is largest, and nothing else (DESIGN §5, *select*).

Each party adds its own full one-sided geometric noise to its share of the scores: given the other two
parties' draws, any one of them alone makes the winner ε-differentially private. Then a tournament of
neighbours runs on shares; only the winner's index is opened. Neighbours in order of index, and the
right one wins only if it is larger, so ties go to the lowest index. Of k winners each is found with
fresh noise among those that are left; each costs ε.

All three parties call :func:`run` with the same selection and the same digest; a party that does so again
after a crash must use its stored noise, and opens the same winners.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from fedgenome.errors import RoleError, require
from fedgenome.query import PARTIES, Query, digest_of
from fedgenome.secure import geometric, ring
from fedgenome.streams import Stream

Shares = npt.NDArray[np.uint64]

MOST_SCORES = 1 << 20
_EMBED = np.uint64(32)
_TAIL = 46.0  # exp(−46) = 1e-20 bounds the chance that any of a winner's 3m draws is beyond the limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is selected, in plain numbers. Scores are integers (ring units).

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
        require(0 < self.epsilon < math.inf, "0 < epsilon < inf", epsilon=self.epsilon)
        require(self.sensitivity >= 1 and self.units >= 1, "sensitivity and units of at least 1")
        require(self.limit < 2.0**62, "noised scores below 2^62", limit=self.limit)

    @classmethod
    def of(cls, query: Query, monotone: bool = False) -> Selection:
        """Return the selection that a query asks for.

        Raises:
            SpecError: it asks for none, is not noised by the parties, its Δs is no whole number of ring
                units, or its ring is too small for scores and noise.
        """
        question, mechanism = query.question, query.question.mechanism
        require(question.reduce == "select", "a selection", reduce=question.reduce)
        noised = mechanism is not None and (mechanism.kind, mechanism.where) == ("exponential", "parties")
        require(noised, "exponential noise by the parties")
        sensitivity = query.scale * question.bound
        require(sensitivity == int(sensitivity), "scores of whole ring units", sensitivity=sensitivity)
        selection = cls(
            scores=question.length,
            winners=question.reply_length,
            epsilon=mechanism.level if mechanism else 0.0,
            sensitivity=int(sensitivity),
            units=query.terms.sites if question.unit == "site" else query.terms.donors,
            monotone=monotone,
        )
        require(selection.width <= query.width, "a ring that holds scores and noise", width=query.width)
        return selection

    @property
    def rate(self) -> Fraction:
        """Rate of each party's noise, P(k) ∝ exp(−rate·k): ε/2Δs, or ε/Δs for monotone scores. Exact."""
        return Fraction(self.epsilon) / (self.sensitivity * (1 if self.monotone else 2))

    @property
    def limit(self) -> float:
        """Largest magnitude of a noised score: D·Δs + 3·(46 + ln 3m)/rate, but for a chance of e^-46 a winner."""
        noise = PARTIES * (_TAIL + math.log(PARTIES * self.scores)) / float(self.rate)
        return self.units * self.sensitivity + noise

    @property
    def width(self) -> Literal[32, 64]:
        """Bits of the smallest ring in which differences of noised scores keep their sign."""
        return 32 if self.limit < 2.0**30 else 64


class Machine(Protocol):
    """Arithmetic on shares in Z_2^64 (:class:`fedgenome.secure.crypten_runtime.Machine`)."""

    rank: int

    def below(self, left: Shares, right: Shares) -> Shares:
        """Return shares of 1 where left < right, else 0."""

    def product(self, left: Shares, right: Shares) -> Shares:
        """Return shares of left·right."""

    def reveal(self, shares: Shares) -> npt.NDArray[np.int64]:
        """Return what is shared."""

    def agree(self, digest: bytes) -> None:
        """Raise Refused unless all parties hold the same digest."""


def draw_noise(selection: Selection, stream: Stream) -> npt.NDArray[np.int64]:
    """Return a party's own noise, int64 (winners, scores); to be stored (or the stream's key) before :func:`run`."""
    sampler = geometric.sampler(selection.rate)
    drawn = sampler.draw(selection.winners * selection.scores, stream)
    return drawn.reshape(selection.winners, selection.scores)


def run(
    selection: Selection, words: ring.Words, noise: npt.NDArray[np.int64], machine: Machine, agreed: str
) -> tuple[int, ...]:
    """Return the indices of the largest noised scores, largest first, as all three parties do.

    Args:
        selection: What is asked.
        words: uint32 or uint64 (scores,), this party's share of the summed scores.
        noise: This party's :func:`draw_noise`.
        machine: This party's end of the computation.
        agreed: What the parties must hold in common: the included set's digest.

    Raises:
        Refused: another party was told another set or selection; nothing was computed.
        RoleError: a peer failed, or the opened index is none: the session is of no use any more.
        SpecError: the share or the noise does not fit the selection.
    """
    width = words.itemsize * 8
    require(words.shape == (selection.scores,), f"{selection.scores} words", shape=words.shape)
    require(selection.width <= width, f"words of {selection.width} bits", dtype=str(words.dtype))
    require(noise.shape == (selection.winners, selection.scores), "noise for every winner", shape=noise.shape)
    machine.agree(bytes.fromhex(digest_of("select", [agreed, width, asdict(selection)])))
    left = np.arange(selection.scores)
    winners: list[int] = []
    for own in noise:
        index = _largest(_noised(words, own)[left], machine)
        winners.append(int(left[index]))
        left = np.delete(left, index)
    return tuple(winners)


def _noised(words: ring.Words, noise: npt.NDArray[np.int64]) -> Shares:
    """Return the share of the noised scores in Z_2^64.

    Shares in Z_2^32 are multiplied by 2^32: the carries out of 32 bits drop off the top, so they are
    exact shares of the scores times 2^32. Zero-extended ones would compare at random.
    """
    total = words.astype(np.uint64) + noise.view(np.uint64)
    return total << _EMBED if words.itemsize == 4 else total


def _largest(scores: Shares, machine: Machine) -> int:
    """Return the lowest index of the largest of shared ``scores`` (n,), at least one.

    Each level pairs neighbours in order of index and keeps one of each pair; the last of an odd number
    waits. ⌈log2 n⌉ levels, n − 1 comparisons.
    """
    index = np.arange(scores.size, dtype=np.uint64) if machine.rank == 0 else np.zeros(scores.size, np.uint64)
    n = scores.size
    while scores.size > 1:
        even = scores.size // 2 * 2
        left, right = scores[0:even:2], scores[1:even:2]
        change = np.concatenate([right - left, index[1:even:2] - index[0:even:2]])
        change = machine.product(np.tile(machine.below(left, right), 2), change)
        scores = np.concatenate([left + change[: even // 2], scores[even:]])
        index = np.concatenate([index[0:even:2] + change[even // 2 :], index[even:]])
    (winner,) = machine.reveal(index).tolist()
    if not 0 <= winner < n:
        raise RoleError(f"opened index {winner} of {n} scores; a party computed with something else")
    return int(winner)
