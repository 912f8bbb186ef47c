"""What a model is trained on and looked at with: members, canaries, and people whom no model has seen.

Two kinds of data, in windows of 48 bases: random letters, of which each window is a donor of its own, and the control
region of human mitochondrial DNA (1000 Genomes), where people differ most: 20 windows a person, of people no two of
whom have the same control region. Canaries are the same for both: 48 letters, drawn uniformly, no two beginning alike.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from fedgenome.audit.language import canaries
from fedgenome.audit.language.canaries import RATES, Canaries, Ladder, Planting
from fedgenome.cohort.sequences import entries
from fedgenome.cohort.tokens import Tokens
from fedgenome.errors import SpecError, require
from fedgenome.query import Array
from fedgenome.streams import Root

Data = Literal["random", "mtDNA"]

WINDOW = 48
HEAD = 8  # letters of a canary whose exposure is enumerated: 65,536 strings, 16 bits
ALPHABET = Tokens()
_FILE = "sequences/mtdna_1000g_2534.fasta.gz"
_REGION = (16_024, 414)  # first and last position of the control region that is used; the molecule is a circle
_WINDOWS = 20  # of a person


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything.

    Attributes:
        rows: Windows of members.
        rates: Copies of a planted canary, one rung each.
        each: Canaries a rung.
        coins: Canaries planted once or not, by a coin.
        controls: Canaries that are not planted.
        asked: Donors of members, and of others, who are looked for.
        epochs: After which the model is looked at; the last ends the run.
    """

    rows: int = 1000
    rates: tuple[int, ...] = RATES
    each: int = 8
    coins: int = 0
    controls: int = 128
    asked: int = 200
    epochs: tuple[int, ...] = (1, 2, 4, 8, 16)

    @property
    def ladder(self) -> Ladder:
        """How many canaries are planted how often."""
        return Ladder(rates=self.rates, each=self.each, coins=self.coins, controls=self.controls)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """Windows, and whose they are.

    Attributes:
        rows: int64 (rows, 48); 4 is unknown.
        donor: int64 (rows,), rising from 0.
    """

    rows: Array
    donor: Array

    def first(self, donors: int) -> People:
        """Return the rows of the first ``donors``."""
        mine = self.donor < donors
        return People(rows=self.rows[mine], donor=self.donor[mine])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Disjoint people, and canaries.

    Attributes:
        members: In the training data.
        others: In no training data.
        spare: Training rows of further people, to put in place of canaries, int64 (rows, 48).
        public: Rows of people who hide nothing, to begin from and to compare with, int64 (rows, 48).
        canaries: Their first letters, and how often each is planted.
        planting: Their windows.
    """

    members: People
    others: People
    spare: Array
    public: Array
    canaries: Canaries
    planting: Planting


def world(data: Data, scale: Scale, seed: int) -> World:
    """Return the world of a seed: the same for all models.

    Raises:
        SpecError: the file of mitochondrial DNA is not there.
    """
    root = Root.simulation(seed, "memorization", data)
    copies = int(sum(scale.rates)) * scale.each + scale.coins
    sizes = (scale.rows, scale.rows, copies, scale.rows + copies)
    members, others, spare, public = _PEOPLE[data](sizes, root.stream("people").generator())
    drawn, windows = planted(data, scale, seed)
    return World(
        members=members,
        others=others,
        spare=spare.rows,
        public=public.rows,
        canaries=drawn,
        planting=Planting(rows=windows, repeats=drawn.repeats, length=HEAD),
    )


def planted(data: Data, scale: Scale, seed: int) -> tuple[Canaries, Array]:
    """Return the canaries of a seed, and the window of each, int64 (canaries, 48)."""
    rng = Root.simulation(seed, "memorization", data).stream("canaries").generator()
    drawn = canaries.drawn(canaries.uniform(ALPHABET.size, HEAD), scale.ladder, rng)
    windows = rng.integers(0, ALPHABET.size, (len(drawn), WINDOW))
    windows[:, :HEAD] = drawn.tokens
    return drawn, windows


def only(world: World, rates: tuple[int, ...]) -> World:
    """Return the world with the canaries of ``rates`` alone planted; the others' copies are ``spare`` rows instead."""
    repeats = kept(world.canaries.repeats, rates)
    free = int(world.canaries.repeats.sum() - repeats.sum())
    rows = np.concatenate([world.members.rows, world.spare[:free]])
    donor = np.concatenate([world.members.donor, world.members.donor.max() + 1 + np.arange(free)])
    return replace(
        world,
        members=People(rows=rows, donor=donor),
        canaries=replace(world.canaries, repeats=repeats),
        planting=replace(world.planting, repeats=repeats),
    )


def kept(repeats: Array, rates: tuple[int, ...]) -> Array:
    """Return the copies of canaries, 0 for those whose rate is not one of ``rates``."""
    return np.where(np.isin(repeats, rates), repeats, 0)


def _random(sizes: tuple[int, ...], rng: np.random.Generator) -> list[People]:
    """Return rows of letters that are all alike and independent: what one says of another is nothing."""
    return [
        People(rows=rng.integers(0, ALPHABET.size, (size, WINDOW)), donor=np.arange(size, dtype=np.int64))
        for size in sizes
    ]


def _mitochondrial(sizes: tuple[int, ...], rng: np.random.Generator) -> list[People]:
    regions = _control_regions()
    counts = [-(-size // _WINDOWS) for size in sizes]
    require(sum(counts) <= len(regions), "as many people as there are", wanted=sum(counts), people=len(regions))
    order, ends = rng.permutation(len(regions)), np.cumsum(counts)
    return [
        People(
            rows=regions[order[end - count : end]].reshape(-1, WINDOW)[:size],
            donor=np.repeat(np.arange(count, dtype=np.int64), _WINDOWS)[:size],
        )
        for size, count, end in zip(sizes, counts, ends, strict=True)
    ]


_PEOPLE: dict[Data, Callable[[tuple[int, ...], np.random.Generator], list[People]]] = {
    "random": _random,
    "mtDNA": _mitochondrial,
}


@functools.cache
def _control_regions() -> Array:
    """Return one person's control region for each that occurs, int64 (people, 960)."""
    path = Path(os.environ.get("FEDGENOME_DATA", Path(__file__).parents[2] / "../shared/data")) / _FILE
    if not path.exists():
        raise SpecError(f"{path}: expected mitochondrial DNA here; set FEDGENOME_DATA to the folder of sequences/")
    first, last = _REGION
    found = {text[first - 1 :] + text[:last]: None for _, text in entries(str(path))}
    regions = np.stack([ALPHABET.encode(text) for text in found])
    require(regions.shape[1] == WINDOW * _WINDOWS, "control regions of 960 letters", letters=regions.shape[1])
    return np.unique(regions, axis=0)  # two texts may differ in letters that are unknown alike
