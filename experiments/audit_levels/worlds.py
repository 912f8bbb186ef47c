"""People of whom members and controls are drawn by chance, a table and a classifier of others, and everybody's scores.

What may be permuted. The table, the classifier, its shadows, the control base and who was IN which shadow are fixed
before it is drawn who of the pool is called a member, and none depends on that draw. Given all of them every subset of
donors is as likely to be the members, and a donor's score is a function of what is fixed and of the donor's own rows.
So scores are taken once, and only the word "member" is dealt anew: ``inside`` stays with its people. That holds for a
target which saw none of them; one that was trained on the members would have to be trained anew with every draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiments.synthesis import cohorts, loop
from experiments.synthesis.arms import LOG
from experiments.synthesis.loop import Facts, Kind
from fedgenome.audit import run
from fedgenome.audit.distance import per_donor
from fedgenome.audit.membership import attacks
from fedgenome.audit.membership.run import gather
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
        everybody: Rows of the pool and the base, on the same scale.
        pool: Rows of those of whom members and controls are drawn, scaled.
        target: The table, scaled.
        scores: Of the pool's donors in their order, by attack, float64 (donors,).
        alone: Whom of the pool the table singles out, bool (donors,).
        candidates: Of rows that are nobody's, by attack on the table, float64 (CANDIDATES,).
        leaked: Whether a donor of the pool was let into table and classifier, bool (donors,); nobody but in the
            positive control.
    """

    study: Study
    table: Records
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
    """Return a world; with ``copied`` the positive control: so many members' rows in the table, all in the classifier.

    Args:
        study: What :func:`read` gave.
        seed: Of everything drawn.
        copied: Share of the members who stand in the table verbatim.
    """
    rng = np.random.default_rng([seed, 0])
    n = study.shard.n_donors
    part = np.repeat([0, 1, 2], [MEMBERS + CONTROLS, BASE, n - MEMBERS - CONTROLS - BASE])[rng.permutation(n)]
    pool, base, makers = (people(study.shard.take(part == which)) for which in range(3))
    table = _table(study, part == 2, seed)
    leaked = np.zeros(len(pool.units), bool)
    if copied:
        leaked[rng.permutation(len(leaked))[:MEMBERS]] = True
        table = _copying(table, pool.of(pool.units[leaked][: round(copied * MEMBERS)]))
        makers = pool.of(pool.units[leaked])
    within, own = scaled(pool, *study.ends), scaled(base, *study.ends)
    target = Target(table=scaled(table, *study.ends), samples=scaled(table, *study.ends))
    nobody = independent(own, CANDIDATES, rng)
    told = {name: score(within, target, own) for name, score in run.ATTACKS.items()}
    told |= _classifier(study, makers, pool, base, rng)
    return World(
        study=study,
        table=table,
        everybody=people(study.shard.take(part != 2)),
        pool=within,
        target=target,
        scores={name: per_donor(each, pool.owner) for name, each in told.items()},
        alone=singled_out(within, target.table),
        candidates={name: score(nobody, target, own) for name, score in run.ATTACKS.items()},
        leaked=leaked,
    )


def _table(study: Study, makers: Array, seed: int) -> Records:
    """Return rows of the library's low-rank Gaussian, fitted without noise to ``makers``."""
    made = loop.method(Kind(kind="gaussian", options={"covariance": "lowrank", **LOG}), study.facts, None)
    return loop.table(made, loop.trained(made, study.shard.take(makers), seed), ROWS, seed)


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
