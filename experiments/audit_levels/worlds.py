"""People of whom members and controls are drawn by chance, a table and models of others, and everybody's scores.

What may be permuted. The table, the model that made it, the classifier, its shadows, the control base and who was IN
which shadow are fixed before it is drawn who of the pool is called a member, and none depends on that draw. Given all
of them every subset of donors is as likely to be the members, and a donor's score is a function of what is fixed and of
the donor's own rows. So scores are taken once, and only the word "member" is dealt anew: ``inside`` stays with its
people. That holds for a target which saw none of them; one that was trained on the members would have to be trained
anew with every draw.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.synthesis import cohorts, loop
from experiments.synthesis.arms import LOG
from experiments.synthesis.loop import Facts, Kind
from fedgenome.audit import run
from fedgenome.audit.distance import per_donor
from fedgenome.audit.membership import attacks
from fedgenome.audit.membership.run import gather
from fedgenome.audit.scales import Values
from fedgenome.audit.shadows import draws, training
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.audit.singling_out import singled_out
from fedgenome.audit.targets import Records, Target, independent, people, scaled
from fedgenome.cohort import expression
from fedgenome.cohort.shard import Shard
from fedgenome.cohort.split import undealt
from fedgenome.query import Array

COHORT, GENES = "tcga_brca", {"random": 100, "seed": 0}
MEMBERS, CONTROLS, BASE = 560, 94, 46  # donors: of 140 controls a third is the base
ROWS = 870  # of the table
CANDIDATES = 1024  # that a canary is drawn from
RECIPE = Recipe(steps=200, batch=64, hidden=(32,), rate=5e-3)
SHADOWS = 30
GAUSSIAN = Kind(kind="gaussian", options={"covariance": "lowrank", **LOG})
OVERFITTED = Kind(kind="cvae", options={"hidden": 128, "latent": 32, "beta": 0.1, "rounds": 500, "normalise": "gene"})

Losses = Callable[[Array, Array], Array]  # of rows of these labels, as they are


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """The cohort, and what everybody may know of it."""

    shard: Shard
    facts: Facts

    @property
    def ends(self) -> tuple[float, float]:
        """The public range of expression."""
        return self.facts.schema.low, self.facts.schema.high


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """One draw of who makes the table, who is the base, and who is in the pool.

    Attributes:
        study: Of which cohort.
        table: Rows made of people who are in no other part, on the cohort's own scale.
        losses: Of the model that made them.
        everybody: Rows of the pool and the base, on the same scale.
        pool: Rows of those of whom members and controls are drawn, scaled.
        target: The table, scaled.
        scores: Of the pool's donors in their order, by attack, float64 (donors,).
        alone: Whom of the pool the table singles out, bool (donors,).
        candidates: Of rows that are nobody's, by attack on table or model, float64 (CANDIDATES,).
        leaked: Whether a donor of the pool was let into table and models, bool (donors,); nobody but in the
            positive control.
    """

    study: Study
    table: Records
    losses: Losses
    everybody: Records
    pool: Records
    target: Target
    scores: Mapping[str, Array]
    alone: Array
    candidates: Mapping[str, Array]
    leaked: Array


def read() -> Study:
    """Read the cohort.

    Raises:
        SpecError: its file is absent.
    """
    spec = cohorts.spec(COHORT, genes=GENES)
    cohort = expression.read(spec)
    facts = Facts(schema=expression.schema_of(cohort, spec), donors_bound=900, delta=1e-4, rows=ROWS)
    return Study(shard=undealt(cohort), facts=facts)


def world(study: Study, seed: int, copied: float = 0.0) -> World:
    """Return a world; with ``copied`` the positive control: members in table and models.

    Args:
        study: What :func:`read` gave.
        seed: Of everything drawn.
        copied: Share of the members who stand in the table verbatim; all are taught to the models, of which the
            generator is a CVAE that is trained too long.
    """
    rng = np.random.default_rng([seed, 0])
    n = study.shard.n_donors
    part = np.repeat([0, 1, 2], [MEMBERS + CONTROLS, BASE, n - MEMBERS - CONTROLS - BASE])[rng.permutation(n)]
    pool, base, makers = (people(study.shard.take(part == which)) for which in range(3))
    table, losses = _generator(study, part == 2, seed)
    leaked = np.zeros(len(pool.units), bool)
    if copied:
        leaked[rng.permutation(len(leaked))[:MEMBERS]] = True
        table = _copying(table, pool.of(pool.units[leaked][: round(copied * MEMBERS)]))
        makers = pool.of(pool.units[leaked])
        taught = np.isin(np.arange(n), np.flatnonzero(part == 0)[leaked])
        made, arrays = fitted(OVERFITTED, study, taught, seed)
        losses = functools.partial(made.losses, arrays)
    within, own = scaled(pool, *study.ends), scaled(base, *study.ends)
    rows = scaled(table, *study.ends)
    target = Target(table=rows, samples=rows, losses=Values(*study.ends).losses(losses))
    nobody = independent(own, CANDIDATES, rng)
    told = {name: score(within, target, own) for name, score in run.EVERY.items()}
    told |= _classifier(study, makers, pool, base, rng)
    return World(
        study=study,
        table=table,
        losses=losses,
        everybody=people(study.shard.take(part != 2)),
        pool=within,
        target=target,
        scores={name: per_donor(each, pool.owner) for name, each in told.items()},
        alone=singled_out(within, target.table),
        candidates={name: score(nobody, target, own) for name, score in run.EVERY.items()},
        leaked=leaked,
    )


def _generator(study: Study, makers: Array, seed: int) -> tuple[Records, Losses]:
    """Return rows of the library's low-rank Gaussian, fitted without noise to ``makers``, and its losses."""
    made, arrays = fitted(GAUSSIAN, study, makers, seed)
    return loop.table(made, arrays, ROWS, seed), functools.partial(made.losses, arrays)


def fitted(kind: Kind, study: Study, makers: Array, seed: int) -> tuple[Any, Mapping[str, Array]]:
    """Return a method without noise, and what it releases after training on ``makers``, bool (donors,)."""
    made = loop.method(kind, study.facts, None)
    return made, loop.trained(made, study.shard.take(makers), seed)


def _copying(table: Records, rows: Records) -> Records:
    x, label = table.x.copy(), table.label.copy()
    x[: len(rows)], label[: len(rows)] = rows.x, rows.label
    return Records(x=x, label=label)


def _classifier(
    study: Study, makers: Records, pool: Records, base: Records, rng: np.random.Generator
) -> dict[str, Array]:
    """Return the pool's scores under every attack on a classifier of ``makers``, by row."""
    classes = len(study.facts.schema.labels)
    taught = training.train(makers.x, makers.label, np.ones((1, len(makers)), bool), RECIPE, rng, classes=classes)
    evidence = gather(
        pool,
        draws.nearest_part(MEMBERS, MEMBERS + CONTROLS),
        lambda x: training.logits(taught, x)[0],
        RECIPE,
        classes,
        rng,
        SHADOWS,
        base,
    )
    return attacks.scores(evidence)
