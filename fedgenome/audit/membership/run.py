"""A classifier's audit: train its shadows, take everybody's signals, attack, judge.

Members are the target's training donors, controls donors drawn from the same cohort and kept apart. Shadows are
trained on random parts of both together: where the target leaks nothing, a member's and a control's scores have the
same law, whatever shadows are like.

All of it reads real members and controls: it is not differentially private and stays internal.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from fedgenome.audit import signals
from fedgenome.audit.membership import attacks
from fedgenome.audit.membership.evidence import Evidence, Population
from fedgenome.audit.results import Attack
from fedgenome.audit.run import split_base
from fedgenome.audit.shadows import draws, training
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.audit.targets import Records
from fedgenome.query import Array

SHADOWS = 64

Logits = Callable[[Array], Array]  # (rows, inputs) -> (rows, classes)


def audit(
    *,
    members: Records,
    controls: Records,
    target: Logits,
    recipe: Recipe,
    classes: int,
    rng: np.random.Generator,
    shadows: int = SHADOWS,
    population: Records | None = None,
) -> tuple[Attack, ...]:
    """Attack a classifier with every attack there is.

    Args:
        members: Rows of the donors it was trained on, as they were before its own scaling.
        controls: Rows of donors kept apart.
        target: Its logits of rows.
        recipe: How it was trained.
        classes: How many it tells apart.
        rng: Draws the shadows. The same state gives the same audit.
        shadows: How many, at least.
        population: Real donors who are neither; default: a third of the controls, who then are not judged.

    Raises:
        SpecError: On shapes that do not agree, or too few donors or shadows for an attack.
    """
    controls, population = (controls, population) if population else split_base(controls, rng)
    pool, member = pooled(members, controls)
    evidence = gather(pool, _part(member, pool), target, recipe, classes, rng, shadows, population)
    return attacks.judged(attacks.scores(evidence), member, pool.owner)


def pooled(members: Records, controls: Records) -> tuple[Records, Array]:
    """Return all rows with donors numbered anew, and which are members', bool (rows,)."""
    of_members, of_controls = (np.unique(each.owner, return_inverse=True)[1] for each in (members, controls))
    pool = Records(
        x=np.concatenate([members.x, controls.x]),
        label=np.concatenate([members.label, controls.label]),
        donor=np.concatenate([of_members, of_controls + len(members.units)]),
    )
    return pool, np.arange(len(pool)) < len(members)


def gather(
    pool: Records,
    part: Fraction,
    target: Logits,
    recipe: Recipe,
    classes: int,
    rng: np.random.Generator,
    shadows: int,
    population: Records,
) -> Evidence:
    """Return signals of ``pool`` under the target and under shadows, each trained on ``part`` of its donors."""
    units, whose = np.unique(pool.owner, return_inverse=True)
    inside, group = draws.inside(len(units), shadows, part, rng)
    trained = training.train(pool.x, pool.label, inside[:, whose], recipe, rng, classes=classes)

    def seen(rows: Records) -> dict[str, signals.Signals]:
        said = {"target": target(rows.x), "shadows": training.logits(trained, rows.x)}
        return {name: signals.of_logits(logits, rows.label) for name, logits in said.items()}

    others = Population(**seen(population))
    return Evidence(label=pool.label, inside=inside[:, whose], group=group, population=others, **seen(pool))


def _part(member: Array, pool: Records) -> Fraction:
    return draws.nearest_part(len(np.unique(pool.owner[member])), len(pool.units))
