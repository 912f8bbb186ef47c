"""Who is a member is drawn by chance, again and again, and what attacks and bounds then say is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.audit_levels.worlds import CANDIDATES, MEMBERS, World
from fedgenome.audit import gate, measure, run, singling_out
from fedgenome.audit.bounds import effects, exposure, one_run
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.bounds.effects import Effect
from fedgenome.audit.bounds.simultaneous import Worst, worst
from fedgenome.audit.near_copies import near_copies
from fedgenome.audit.results import Attack, Audit, NearCopies
from fedgenome.audit.scales import Values
from fedgenome.audit.strata import stratified
from fedgenome.audit.worst_case import scored
from fedgenome.query import Array

CANARIES = 20  # of each draw, whose exposure is taken
COINS, GUESSES = 100, 20  # canaries of the one-run game, and how many are guessed in, and out
STANDS_OUT_BITS = 4.0
LIKELY = 1.645  # LiRA-offline beyond it: one in twenty of a normal


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What one draw of members gave.

    Attributes:
        attacks: Every attack on table and classifier.
        copies: Near-copies.
        bits: Exposures of canaries that were not planted, (CANARIES,), by attack on the table.
        worst: The worst case over the attacks and four vectors more, singling out among them.
    """

    attacks: tuple[Attack, ...]
    copies: NearCopies
    bits: Mapping[str, Array]
    worst: Worst

    @property
    def singled(self) -> Effect:
        """What singling out gave."""
        return next(each for each in self.worst.effects if each.vector == singling_out.NAME)


def split(world: World, controls: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return positions of members and of so many controls among the pool's donors: who leaked, or by chance."""
    if world.leaked.any():
        return np.flatnonzero(world.leaked), np.flatnonzero(~world.leaked)
    drawn = rng.permutation(len(world.leaked))
    return drawn[:MEMBERS], drawn[MEMBERS : MEMBERS + controls]


def judged(scores: Mapping[str, Array], inside: Array, outside: Array) -> tuple[Attack, ...]:
    """Return what each attack achieved where ``inside`` are called members."""
    return tuple(measure.of_scores(name, "", each[inside], each[outside]) for name, each in scores.items())


def draw(world: World, controls: int, rng: np.random.Generator) -> Draw:
    """Draw members and controls, canaries and coins, and judge them all."""
    inside, outside = split(world, controls, rng)
    who = world.pool.units
    chosen = {name: rng.integers(0, CANDIDATES, CANARIES) for name in world.candidates}
    bits = {name: exposure.exact(-each[chosen[name]], -each) for name, each in world.candidates.items()}
    return Draw(
        attacks=judged(world.scores, inside, outside),
        copies=near_copies(world.pool.of(who[inside]), world.pool.of(who[outside]), world.target),
        bits=bits,
        worst=_worst(world, inside, outside, bits, rng),
    )


def _worst(world: World, inside: Array, outside: Array, bits: Mapping[str, Array], rng: np.random.Generator) -> Worst:
    """Return the worst of every attack's ranking, a threshold, singling out, exposure and a one-run game."""
    tails = effects.tails_for(len(world.scores) + 4)
    first, of_candidates = next(iter(world.candidates.items()))
    likely = world.scores["LiRA-offline"] >= LIKELY
    coins = rng.random(COINS) < 0.5
    guesses = one_run.guess(of_candidates[rng.integers(0, CANDIDATES, COINS)], coins, GUESSES, GUESSES)
    return worst(
        [
            *(effects.ranking(name, each[inside], each[outside], tails) for name, each in world.scores.items()),
            effects.advantage(f"LiRA-offline at {LIKELY}", _counts(likely, inside, outside), tails),
            effects.residual(singling_out.NAME, _counts(world.alone, inside, outside), tails),
            effects.stands_out("exposure", bits[first], STANDS_OUT_BITS, tails),
            effects.guessing("one run", guesses, 0.0, tails),
        ]
    )


def _counts(called: Array, inside: Array, outside: Array) -> Counts:
    hits, alarms = int(called[inside].sum()), int(called[outside].sum())
    return Counts(hits=hits, members=len(inside), false_alarms=alarms, controls=len(outside))


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One whole audit of table and model, as the gate reads it: why it is withheld, what else it finds for sure.

    Attributes:
        void: A control failed.
        auc: An upper end is above its limit.
        hits: Likewise.
        copies: Near-copies are below theirs.
        withheld: It is.
        score: The score over everything is surely above 0.
        exposed: In some class an attack surely tells members from controls.
    """

    void: bool
    auc: bool
    hits: bool
    copies: bool
    withheld: bool
    score: bool
    exposed: bool


def whole(world: World, controls: int, rng: np.random.Generator, policy: gate.Policy) -> Whole:
    """Draw members and controls of everybody who did not make the table; audit it and judge it, base and checks too.

    Args:
        world: Where nothing leaks.
        controls: Before a third of them becomes the base.
        rng: Draws people, base and control tables.
        policy: The gate's.
    """
    everybody = replace(world.everybody, strata={"label": world.everybody.label.astype(str)})
    drawn = rng.permutation(everybody.units)
    found = run.audit(
        members=everybody.of(drawn[:MEMBERS]),
        controls=everybody.of(drawn[MEMBERS : MEMBERS + controls]),
        synthetic=world.table,
        losses=world.losses,
        scale=Values(*world.study.ends),
        rng=rng,
        unit="donor",
    )
    return Whole(
        void=bool(found.void),
        auc=any(attack.auc.high > policy.auc.most for attack in found.attacks),
        hits=any(attack.hits is None or attack.hits.high > policy.hits.most for attack in found.attacks),
        copies=_copied(found, policy),
        withheld=not gate.judge(found, policy).released,
        score=any(each.low > 0 for each in scored(found).worst.values()),
        exposed=any(auc.low > 0.5 for each in stratified(found).strata for auc in each.aucs.values()),
    )


def _copied(found: Audit, policy: gate.Policy) -> bool:
    tests: Sequence[NearCopies] = found.near_copies
    return any(min(1.0, each.p_value * len(tests)) < policy.near_copies.least for each in tests)
