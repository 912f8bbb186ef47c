"""Secure noisy argmax: which of m scores is largest, and nothing else (DESIGN §5, *select*).

Each party adds its own full one-sided geometric noise to its share of the scores: given the other two
parties' draws, any one of them alone makes the winner ε-differentially private. Then a tournament of
neighbours runs on shares; only the winner's index is opened. Neighbours in order of index, and the
right one wins only if it is larger, so ties go to the lowest index. Of k winners each is found with
fresh noise among those that are left; each costs ε.

All three parties call :func:`run` with the same selection and the same digest; a party that does so again
after a crash must use its stored noise, and opens the same winners. One that holds the winners already calls
:func:`recall` instead, and the others take its word for them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fedgenome.errors import RoleError, require
from fedgenome.query import digest_of
from fedgenome.secure import geometric, ring
from fedgenome.selection import Selection
from fedgenome.streams import Stream

Shares = npt.NDArray[np.uint64]

_EMBED = np.uint64(32)


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

    def tell(self, numbers: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Return what every party tells, by rank; this one tells ``numbers`` (n,)."""


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
    if known := _agree(selection, width, machine, agreed, ()):
        return known
    left = np.arange(selection.scores)
    winners: list[int] = []
    for own in noise:
        index = _largest(_noised(words, own)[left], machine)
        winners.append(int(left[index]))
        left = np.delete(left, index)
    return tuple(winners)


def recall(selection: Selection, winners: tuple[int, ...], width: int, machine: Machine, agreed: str) -> None:
    """Tell the others, who call :func:`run` or this, the ``winners`` that were opened before a crash.

    Args:
        width: Bits of the ring that the scores were shared in.

    Raises:
        Refused: another party was told another set or selection.
        RoleError: a peer failed, or holds other winners.
    """
    _agree(selection, width, machine, agreed, winners)


def _agree(
    selection: Selection, width: int, machine: Machine, agreed: str, winners: tuple[int, ...]
) -> tuple[int, ...]:
    """Make sure that all mean the same, and return the winners that some party knows already; () if none does."""
    machine.agree(bytes.fromhex(digest_of("select", [agreed, width, asdict(selection)])))
    unknown = (-1,) * selection.winners
    told = {tuple(numbers.tolist()) for numbers in machine.tell(np.array(winners or unknown))} - {unknown}
    if len(told) > 1:
        raise RoleError("the parties remember other winners than each other of one selection")
    return told.pop() if told else ()


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
