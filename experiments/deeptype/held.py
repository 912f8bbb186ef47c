"""Options chosen for real people on a tenth of those who train: optimistic, as nobody has paid for that look.

Beside what simulated people choose it says how badly that transfers.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.deeptype import folds, learned, people
from experiments.deeptype.choosing import START, Options
from experiments.deeptype.people import GROUP, People
from fedgenome.query import Array

ARM = "DP-SGD, tuned on a tenth of the training people"
CANDIDATES = tuple(START | {"normalise": normalise} for normalise in ("gene", "global", "off"))
HELD = 0.1  # of the training people, by chance
_SEED = 47

Row = dict[str, Any]
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Five models.

    Attributes:
        cohort: Of :data:`experiments.deeptype.people.COHORTS`.
        epsilon: What the last training costs a person; choosing is not in it.
    """

    cohort: str
    epsilon: float

    @property
    def key(self) -> str:
        """The cell in one line."""
        return json.dumps({"held": asdict(self) | {"candidates": CANDIDATES, "held": HELD}}, sort_keys=True)

    def head(self, arm: str) -> Row:
        """Return what a line says before its figures."""
        row = learned.head(self.cohort, arm, self.epsilon)
        return row | {"everything paid": "no", "seeds": GROUP, "groups": 1}

    def run(self) -> Figures:
        """Choose options for each fold, train on all of its people, and ask about those left out."""
        who = people.read(self.cohort)
        inside = who.inside(1, 0)
        chosen = [_best(who, mine, self.epsilon, fold) for fold, mine in enumerate(inside)]
        said = np.stack([_said(who, mine, options, self.epsilon) for mine, options in zip(inside, chosen, strict=True)])
        each = folds.right(said, who, inside)
        told = Counter(str(options["normalise"]) for options in chosen)
        row = {"options": json.dumps({"normalise": told}, sort_keys=True)}
        return {"row": row | folds.accuracy(each, [who.majority(mine) for mine in inside]), "each": each}


def _best(who: People, inside: Array, epsilon: float, fold: int) -> Options:
    """Return the candidate that is right most often about people held from its training; the first of equals."""
    held = np.random.default_rng([_SEED, fold]).random(who.number)[who.owner] < HELD
    known, asked = inside & ~held, inside & held
    said = [_said(who, known, options, epsilon).argmax(1) for options in CANDIDATES]
    return CANDIDATES[int(np.argmax([(one == who.label)[asked].mean() for one in said]))]


def _said(who: People, inside: Array, options: Options, epsilon: float) -> Array:
    made = learned.method(options, who.schema, learned.BOUNDS[who.name], epsilon)
    return learned.logits(made, who, inside, _SEED)
