"""Everything that makes a table in these experiments, under one name each: ours, the recipe, rivals, real rows.

An arm is called with training rows and public facts, a price and a seed. ``made`` says with which options, so that a
cached result of others is not taken for it; after a change to the code itself begin an empty cache.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from experiments.synthesis import gan, loop, recipe, rivals
from experiments.synthesis.loop import Facts, Kind
from fedgenome.audit.targets import Records, people
from fedgenome.cohort.shard import Shard
from fedgenome.errors import require
from fedgenome.methods import registry
from fedgenome.streams import Root

Make = Callable[[Shard, Facts, float | None, int], Records]

LOG = {"middle": 7.5, "radius": 110.0, "spread": 1.25}  # public guesses at log2 expression of bulk RNA-seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One line of the tables.

    Attributes:
        made: Its options.
        make: Returns a table.
        private: Has rows at every ε.
        ceiling: Has a row without privacy.
        kind: The library's method, where it is one.
        few: Takes minutes a run: so many splits, fewer prices and no folds; 0: everything.
    """

    made: str
    make: Make
    private: bool = True
    ceiling: bool = True
    kind: Kind | None = None
    few: int = 0

    def run(self, shard: Shard, facts: Facts, epsilon: float | None, seed: int) -> Records:
        """Return the table that the arm makes of ``shard``."""
        return self.make(shard, facts, epsilon, seed)


def ours(kind: Kind, colluders: int = 0) -> Arm:
    """Return a method of the library, trained by the loop."""

    def make(shard: Shard, facts: Facts, epsilon: float | None, seed: int) -> Records:
        made = loop.method(kind, facts, epsilon)
        return loop.table(made, loop.trained(made, shard, seed, colluders), facts.rows, seed)

    return Arm(made=json.dumps([kind.kind, dict(kind.options), colluders]), make=make, kind=kind)


def methods(guesses: Mapping[str, float]) -> dict[str, Arm]:
    """Return the library's generators, with public guesses at the data's scale; kinds not there yet are left out."""
    wide: dict[str, Kind] = {
        "marginals": Kind(kind="marginals"),
        "gaussian, diagonal": Kind(kind="gaussian", options={"covariance": "diagonal", **guesses}),
        "gaussian, low rank": Kind(kind="gaussian", options={"covariance": "lowrank", **guesses}),
        "factors": Kind(kind="factors", options=dict(guesses)),
        "inverted": Kind(kind="inverted", options={n: v for n, v in guesses.items() if n != "spread"}),
        "copula": Kind(kind="gaussian", options={"margins": "histograms", **guesses}),
        "DP-CVAE": Kind(kind="cvae", options={"hidden": 64, "latent": 8, "rounds": 200, "normalise": "gene"}),
    }
    return {name: ours(kind) for name, kind in wide.items() if kind.kind in registry.KINDS}


def _rng(name: str, seed: int, epsilon: float | None) -> np.random.Generator:
    return Root.simulation(seed, "rival").stream(name, "none" if epsilon is None else repr(epsilon)).generator()


def _unpaid(shard: Shard, facts: Facts, epsilon: float | None, seed: int) -> Records:
    rng = _rng("unpaid", seed, epsilon)
    star = recipe.unpaid(people(shard), len(facts.schema.labels), epsilon, facts.delta, rng)
    return recipe.draw(star, facts.rows, rng)


def _paid(shard: Shard, facts: Facts, epsilon: float | None, seed: int) -> Records:
    require(epsilon is not None, "a price for the paid recipe")
    rng, span = _rng("paid", seed, epsilon), (facts.schema.low, facts.schema.high)
    star = recipe.paid(people(shard), len(facts.schema.labels), span, float(epsilon or 0), facts.delta, rng)
    return recipe.draw(star, facts.rows, rng)


def _wgan(shard: Shard, facts: Facts, epsilon: float | None, seed: int) -> Records:
    return gan.wgan(people(shard), facts, epsilon, _rng("wgan", seed, epsilon))


def _rival(name: str, shard: Shard, facts: Facts, epsilon: float | None, seed: int) -> Records:
    return rivals.RIVALS[name](people(shard), facts, _rng(name, seed, epsilon))


def _majority(shard: Shard, facts: Facts, epsilon: float | None, seed: int) -> Records:
    """Return one row of the class that noisy counts say is the largest, the whole budget spent on them."""
    counts = np.bincount(shard.label[shard.mask], minlength=len(facts.schema.labels)).astype(float)
    if epsilon is not None:
        counts += recipe.multiplier(epsilon, facts.delta) * _rng("majority", seed, epsilon).standard_normal(len(counts))
    return Records(x=np.zeros((1, shard.x.shape[1]), np.float32), label=np.array([counts.argmax()]))


UNPAID, PAID, MAJORITY = "recipe, bin means unpaid", "recipe, everything paid", "majority class"

OTHERS: Mapping[str, Arm] = {
    UNPAID: Arm(made="1", make=_unpaid),
    PAID: Arm(made=json.dumps(recipe.SHARES), make=_paid, ceiling=False),
    MAJORITY: Arm(made="1", make=_majority),
    "WGAN-GP": Arm(made=json.dumps([asdict(gan.PLAIN), asdict(gan.PRIVATE)]), make=_wgan, few=2),
    **{
        name: Arm(made="1", make=functools.partial(_rival, name), private=False, few=int(name == "CTGAN"))
        for name in rivals.RIVALS
        if name != "CTGAN" or rivals.has_ctgan()
    },
}


def every(guesses: Mapping[str, float] = LOG) -> dict[str, Arm]:
    """Return all arms by name."""
    return {**methods(guesses), **OTHERS}
