"""Who trains which shadow: groups of models that partition people, so that everyone is IN equally often.

Two things are wanted at once. Every person should be IN and OUT of equally many shadows, whatever the luck of the
draw. And where one shadow plays the target, to fit an attack on the others, the others must not tell by their number
who was in it: with exactly half of all shadows IN, a member of the one left out would be IN one shadow less than
anybody else. So shadows come in groups, each drawn afresh, in which everyone is IN the same number of times, and a
shadow is left out with its whole group.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from fedgenome.errors import require
from fedgenome.query import Array

_MOST = 5  # models of a group


def nearest_part(members: int, people: int) -> Fraction:
    """Return the part of people that a shadow is trained on: the target's, as a fraction of fifths or simpler.

    >>> [str(nearest_part(*sizes)) for sizes in ((400, 800), (560, 700), (1, 100))]
    ['1/2', '4/5', '1/5']
    """
    require(0 < members < people, "0 < members < people", members=members, people=people)
    near = Fraction(members, people).limit_denominator(_MOST)
    return min(max(near, Fraction(1, _MOST)), 1 - Fraction(1, _MOST))


def inside(people: int, shadows: int, part: Fraction, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return who is IN, bool (models, people), and the group of each model, int (models,).

    A group of g models cuts people at random into g parts, all within one of one size; model j holds the h
    parts from j on, round the corner. There are at least ``shadows`` models: all of the last group.

    Args:
        people: How many there are.
        shadows: How many models at least.
        part: h/g, what each model holds.
        rng: Draws the parts.
    """
    held, size = part.numerator, part.denominator
    require(0 < part < 1, "0 < part < 1", part=str(part))
    require(people >= size, f"at least {size} people", people=people)
    groups = -(-shadows // size)
    require(groups >= 2, "two groups of shadows at least", shadows=shadows, group=size)
    of_position = np.arange(people) * size // people
    which = np.stack([rng.permuted(of_position) for _ in range(groups)])[:, None]
    models = np.arange(size)[None, :, None]
    found = (which - models) % size < held
    return found.reshape(groups * size, people), np.repeat(np.arange(groups), size)
