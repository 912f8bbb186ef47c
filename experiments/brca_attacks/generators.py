"""Who is a member, and the generators that are attacked: methods of the library, and CVAEs without privacy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from experiments.brca_attacks import autoencoder
from experiments.brca_attacks.autoencoder import Shape
from experiments.synthesis import arms, cohorts, loop
from experiments.synthesis.loop import Facts, Kind
from fedgenome.audit.shadows import draws
from fedgenome.audit.targets import Records, people, scaled
from fedgenome.cohort import expression
from fedgenome.cohort.shard import Cohort, Shard
from fedgenome.errors import require
from fedgenome.methods import registry
from fedgenome.methods.base import Watched
from fedgenome.privacy import accounting
from fedgenome.query import Array
from fedgenome.study import Plan

COHORT = "tcga_brca"
KEPT_APART = 0.5  # of the donors, by chance; a third of these are the base
BOUND, DELTA = 600, 1e-4  # public bound on the donors in training, and δ
SHADOWS = 8
CVAE = Shape(hidden=64, epochs=100)
OVERFITTED = Shape(hidden=256, epochs=300)
LIBRARY = ("marginals", "gaussian, low rank", "factors", "DP-CVAE")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """One split.

    Attributes:
        seed: Of the split.
        facts: What is public.
        members: Training donors.
        controls: Donors kept apart from them by chance.
        base: Further donors kept apart: the attacker's own people.
    """

    seed: int
    facts: Facts
    members: Shard
    controls: Shard
    base: Shard

    def records(self, shard: Shard) -> Records:
        """Return the rows of ``shard`` as attacks see them."""
        return self.scaled(people(shard))

    def scaled(self, rows: Records) -> Records:
        """Return rows scaled by the public range."""
        return scaled(rows, self.facts.schema.low, self.facts.schema.high)


@functools.lru_cache(maxsize=1)
def _cohort() -> Cohort:
    return cohorts.read(COHORT)


def dealt(seed: int) -> Parts:
    """Return one split of the donors, hospitals put together."""
    cohort = _cohort()
    split = cohorts.dealt(cohort, COHORT, seed, by="even", sites=1, controls=KEPT_APART)
    order = np.random.default_rng([seed, 1]).permutation(split.controls.n_donors)
    own = np.isin(np.arange(len(order)), order[: len(order) // 3])
    members = split.members
    schema = expression.schema_of(cohort, cohorts.spec(COHORT))
    return Parts(
        seed=seed,
        facts=Facts(schema=schema, donors_bound=BOUND, delta=DELTA, rows=members.n_donors),
        members=members,
        controls=split.controls.take(~own),
        base=split.controls.take(own),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shadowed:
    """What shadows say of the members' rows and then the controls'.

    Attributes:
        losses: (models, rows).
        inside: Who was in which, (models, rows).
        group: Which were drawn together, (models,).
    """

    losses: Array
    inside: Array
    group: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Made:
    """A fitted generator.

    Attributes:
        draw: Returns so many rows.
        losses: The model's loss of each row of a shard; None: it has none.
        shadows: Trains shadows for it; None: nobody does.
    """

    draw: Callable[[int], Records]
    losses: Callable[[Shard], Array] | None = None
    shadows: Callable[[], Shadowed] | None = None

    def kept(self) -> Made:
        """Return the same generator, which remembers what it gave: for one that is asked again and again."""
        return replace(self, draw=functools.cache(self.draw), losses=self.losses and functools.cache(self.losses))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One kind of generator.

    Attributes:
        fit: Fits it to one of the split's shards, at an ε or without.
        private: Whether it has a form with ε.
    """

    fit: Callable[[Parts, Shard, float | None], Made]
    private: bool = True


def _library(name: str, parts: Parts, shard: Shard, epsilon: float | None) -> Made:
    made = registry.build(kinds()[name].spec, parts.facts.schema, BOUND, epsilon is not None)
    made = made if epsilon is None else made.at(_level(name, parts.facts, epsilon))
    arrays = loop.trained(made, shard, 10_000 + parts.seed)

    def draw(rows: int) -> Records:
        return loop.table(made, arrays, rows, 20_000 + parts.seed)

    if not isinstance(made, Watched):
        return Made(draw=draw)
    loss = made.loss
    return Made(draw=draw, losses=lambda rows: np.array([loss(dict(arrays), one) for one in _one_by_one(rows)]))


@functools.lru_cache
def _level(name: str, facts: Facts, epsilon: float) -> float:
    """Return the noise of one trusted server with all of δ: a federation refuses ε = 100 (``accounting.usable``)."""
    made = registry.build(kinds()[name].spec, facts.schema, BOUND, True)
    return accounting.calibrate(lambda noise: Plan(mechanisms=made.plan(noise)), epsilon, DELTA)


def _one_by_one(rows: Shard) -> Iterator[Shard]:
    for x, label in zip(rows.x[rows.mask], rows.label[rows.mask], strict=True):
        nobody = np.zeros(1, np.int64)
        yield Shard(x=x[None], label=label[None], donor=nobody, donors=("",), mask=np.ones(1, bool))


def _own(shape: Shape, shadowed: bool, parts: Parts, shard: Shard, epsilon: float | None) -> Made:
    require(epsilon is None, "no price for a CVAE without privacy", epsilon=epsilon)
    rows, rng = people(shard), np.random.default_rng([parts.seed, 2])
    trained = autoencoder.train(rows, np.ones((1, len(rows)), bool), parts.facts.schema, shape, rng)
    return Made(
        draw=lambda count: trained.draw(count, np.random.default_rng([parts.seed, 3])),
        losses=lambda asked: trained.losses(people(asked))[0],
        shadows=functools.partial(_shadows, shape, parts) if shadowed else None,
    )


def _shadows(shape: Shape, parts: Parts) -> Shadowed:
    """Train shadows on halves of members and controls: the auditor's own, as all who see both could."""
    each = [people(shard) for shard in (parts.members, parts.controls)]
    rows = Records(x=np.concatenate([one.x for one in each]), label=np.concatenate([one.label for one in each]))
    owner = np.concatenate([each[0].owner, each[1].owner + each[0].owner.max() + 1])
    donors, row = np.unique(owner, return_inverse=True)
    rng = np.random.default_rng([parts.seed, 4])
    inside, group = draws.inside(len(donors), SHADOWS, Fraction(1, 2), rng)
    trained = autoencoder.train(rows, inside[:, row], parts.facts.schema, shape, rng)
    return Shadowed(losses=trained.losses(rows).astype(np.float64), inside=inside[:, row], group=group)


def kinds() -> dict[str, Kind]:
    """Return the library's methods by name."""
    return {name: arm.kind for name, arm in arms.methods(arms.LOG).items() if arm.kind is not None}


def every() -> dict[str, Arm]:
    """Return all generators by name."""
    library = {name: Arm(fit=functools.partial(_library, name)) for name in LIBRARY}
    own = {
        "CVAE": Arm(fit=functools.partial(_own, CVAE, True), private=False),
        "CVAE, overfitted": Arm(fit=functools.partial(_own, OVERFITTED, False), private=False),
    }
    return library | own
