"""The calibrated worst case of a language model: what its canaries, and whatever else was looked at, say together.

Three ways to look at canaries, after Nemecek et al. 2026 (arXiv 2603.08913): perplexity, exposure and extraction;
membership of people, or of canaries with coins, is a further one. Each is an effect beside what was not planted, and
the score is the worst of them, which pays for having looked at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedgenome.audit.bounds import effects, exposure, one_run, ranking
from fedgenome.audit.bounds.effects import Effect, Tails, tails_for
from fedgenome.audit.bounds.simultaneous import Worst, worst
from fedgenome.audit.language.canaries import Canaries
from fedgenome.audit.language.extraction import planted_against_controls
from fedgenome.audit.results import LEVEL
from fedgenome.errors import require
from fedgenome.query import Array

FEWEST, FEWEST_CONTROLS = 2, 4  # canaries that were planted and that were not: of fewer there is no interval

Vector = Callable[[Tails], Effect]  # such as partial(effects.advantage, "LiRA-online", counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What is looked at, fixed before any canary is scored.

    Attributes:
        least: Copies from which on a planted canary is judged.
        at_bits: Exposure from which on one stands out.
        guessed: Share of the coins that is guessed, half "in" and half "out".
        delta: δ of the guarantee that guesses of coins test.
    """

    least: int = 1
    at_bits: float = 7.0
    guessed: float = 0.5
    delta: float = 0.0

    def __post_init__(self) -> None:
        require(self.least >= 1 and self.at_bits > 0, "least >= 1 and at_bits > 0")
        require(0 < self.guessed <= 1 and 0 <= self.delta < 1, "0 < guessed <= 1 and 0 <= delta < 1")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a model says of every canary, planted or not.

    Attributes:
        bits: Bits a base, float64 (canaries,).
        reference: Under a model that saw none of them, (canaries,); 2 for each where there is none.
        exposure: Bits, exact, each ranked in the whole space by itself; None where that cannot be had.
        extracted: Whether the model completes it, bool (canaries,); None for a masked model.
    """

    bits: Array
    reference: Array
    exposure: Array | None
    extracted: Array | None

    @property
    def score(self) -> Array:
        """How much less surprised the model is than the reference: larger for what was planted, (canaries,)."""
        return self.reference - self.bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """What was seen of the canaries of one rate.

    Attributes:
        repeats: Copies; 0: the controls.
        canaries: How many there are.
        bits: Mean bits a base.
        auc: Of their score beside the controls', .5 is chance.
        exposure: Mean bits; 1.44 is chance.
        p_value: Of "they stand out no more than chance" by the mean exposure.
        extracted: Share that is completed.
    """

    repeats: int
    canaries: int
    bits: float
    auc: float
    exposure: float | None
    p_value: float | None
    extracted: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A model's memorization score.

    Attributes:
        worst: Over all vectors: 0 where nothing leaks, 1 where all is recited.
        negative: The same vectors of canaries, where half of the controls stand for what was planted.
        rungs: What was seen at each rate, controls first.
        looks: What was looked at.
    """

    worst: Worst
    negative: Worst
    rungs: tuple[Rung, ...]
    looks: Looks

    @property
    def void(self) -> bool:
        """Whether the negative control is not at chance: then planted and control canaries were no like draws."""
        return self.negative.low > 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {**asdict(self), "void": self.void}


def judge(seen: Seen, canaries: Canaries, looks: Looks, further: Sequence[Vector] = (), level: float = LEVEL) -> Score:
    """Return the score of a model.

    Args:
        seen: What it says of the canaries.
        canaries: How often each was planted.
        looks: Fixed before ``seen`` was.
        further: Other vectors, of people for example, as many and as they were to be before any was seen.
        level: One-sided confidence of the worst case's ends.

    Raises:
        SpecError: fewer than two canaries planted ``looks.least`` times or more, or fewer than four controls.
    """
    control = np.flatnonzero(canaries.control)
    planted = np.flatnonzero((canaries.repeats >= looks.least) & ~canaries.coin)
    enough = len(planted) >= FEWEST and len(control) >= FEWEST_CONTROLS
    rule = f"{FEWEST} planted canaries and {FEWEST_CONTROLS} controls"
    require(enough, rule, planted=len(planted), controls=len(control))
    half = len(control) // 2
    coins = [_coins(seen, canaries, looks)] if canaries.coin.any() else []
    vectors = [*_vectors(seen, planted, control, looks), *coins, *further]
    nothing = _vectors(seen, control[:half], control[half:], looks)
    return Score(
        worst=_worst(vectors, level),
        negative=_worst(nothing, level),
        rungs=tuple(_rung(seen, canaries, rate) for rate in (0, *canaries.rungs)),
        looks=looks,
    )


def _worst(vectors: Sequence[Vector], level: float) -> Worst:
    tails = tails_for(len(vectors), level)
    return worst([vector(tails) for vector in vectors], level)


def _vectors(seen: Seen, planted: Array, control: Array, looks: Looks) -> list[Vector]:
    """Return the vectors of canaries, ``planted`` and ``control`` by their indices."""
    bits, said, score = seen.exposure, seen.extracted, seen.score
    out: list[Vector] = [lambda tails: effects.ranking("perplexity", score[planted], score[control], tails)]
    if bits is not None:
        out.append(lambda tails: effects.stands_out("exposure", bits[planted], looks.at_bits, tails))
    if said is not None:
        counts = planted_against_controls(said, planted, control)
        out.append(lambda tails: effects.residual("extraction", counts, tails))
    return out


def _coins(seen: Seen, canaries: Canaries, looks: Looks) -> Vector:
    mine, each = canaries.coin, int(canaries.coin.sum() * looks.guessed / 2)
    guesses = one_run.guess(seen.score[mine], canaries.repeats[mine] > 0, each, each)
    return lambda tails: effects.guessing("coins", guesses, looks.delta, tails)


def _rung(seen: Seen, canaries: Canaries, rate: int) -> Rung:
    mine, control = (canaries.repeats == rate) & ~canaries.coin, canaries.control
    bits = None if seen.exposure is None else seen.exposure[mine]
    return Rung(
        repeats=rate,
        canaries=int(mine.sum()),
        bits=float(seen.bits[mine].mean()),
        auc=ranking.auc(seen.score[mine], seen.score[control]),
        exposure=None if bits is None else float(bits.mean()),
        p_value=None if bits is None else exposure.mean_p_value(bits),
        extracted=None if seen.extracted is None else float(seen.extracted[mine].mean()),
    )
