"""The published form of masking as it is: every person's own mask, learned at five sites that average their networks.

Sites are dealt by chance, or by population, largest first to whoever has fewest. Only some variants are looked at, for
an identifier reads them all at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.afml import attacks
from experiments.afml.learned import facts, shard
from experiments.afml.worlds import Point, World, useful
from experiments.synthesis.loop import Kind
from fedgenome.audit.linkage.dosages import MASK, MISSING
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.methods.base import DonorStreams, Masker, Method
from fedgenome.privacy.clipping import ClippedSum
from fedgenome.privacy.coins import DonorNormals, Moment
from fedgenome.query import Array
from fedgenome.streams import Root

Points = Iterator[tuple[str, Point]]

SITES, SEEN, ROUNDS, STEPS = 5, 200, 10, 3
FORMS: Mapping[str, Mapping[str, object]] = {
    "soft masks": {"hard": False},
    "hard masks": {"hard": True},
    "hard masks, loss as printed": {"hard": True, "loss": "printed"},
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Home:
    """A site's local training: exact sums over its shard."""

    shard: Shard
    root: Root
    moment: Moment

    def normal(self, donors: Sequence[str], size: int) -> Array:
        return DonorNormals(self.root, self.moment).normal(donors, size)

    def noisy_sum(self, answer: Callable[[Shard, DonorStreams], ClippedSum]) -> Array:
        return np.asarray(answer(self.shard, self).value, np.float64)


def averaged(made: Method, shards: Sequence[Shard], seed: int) -> dict[str, Array]:
    """Return what ``made`` releases after all sites' answers to every question, added up without noise."""
    root = Root.simulation(seed, "averaged")
    state, step = made.start(root.stream("start").generator()), 0
    while (question := made.ask(state)) is not None:
        homes = [_Home(shard=one, root=root, moment=(made.name, step, 0)) for one in shards]
        total = sum(np.asarray(made.answer(question, home.shard, home).value, np.float64) for home in homes)
        state, step = made.learn(state, question, np.asarray(total)), step + 1
    return made.release(state)


def dealt(at: World, by_population: bool) -> list[Array]:
    """Return which rows of the chosen people each site has."""
    people = at.panels.population[at.sides.chosen]
    if not by_population:
        site = at.rng("sites").permutation(len(people)) % SITES
        return [np.flatnonzero(site == each) for each in range(SITES)]
    names, counts = np.unique(people, return_counts=True)
    homes: list[list[str]] = [[] for _ in range(SITES)]
    held = np.zeros(SITES, np.int64)
    for group in np.argsort(-counts, kind="stable"):
        fewest = int(np.argmin(held))
        homes[fewest].append(str(names[group]))
        held[fewest] += counts[group]
    return [np.flatnonzero(np.isin(people, home)) for home in homes]


def arm(by_population: bool) -> Callable[[World], Points]:
    """Return the arm of the published form, its sites dealt one way or the other."""

    def points(at: World) -> Points:
        variants = at.panels.array.shape[1]
        columns = np.sort(at.rng("paper").choice(variants, min(SEEN, variants), replace=False))
        for name, options in FORMS.items():
            yield name, _point(at, columns, options, dealt(at, by_population), name)

    return points


def _point(at: World, columns: Array, options: Mapping[str, object], sites: Sequence[Array], name: str) -> Point:
    public = facts(at, "phenotype")
    schema = public.schema.model_copy(update={"genes": tuple(public.schema.genes[column] for column in columns)})
    told = {"rounds": ROUNDS, "local_steps": STEPS, **options}
    spec = Kind(kind="afml", options=told).spec
    made = registry.build(spec, schema, public.donors_bound, False, sites=SITES)
    if not isinstance(made, Masker):
        raise SpecError(f"{spec.kind}: expected a method that masks")
    whole = shard(at, "phenotype")
    people = [whole.take(np.isin(np.arange(whole.n_donors), rows)) for rows in sites]
    arrays = averaged(made, [_narrow(one, columns) for one in people], at.seed)
    dosages = at.panels.array[:, columns]
    masked = made.masked(arrays, np.maximum(dosages, 0).astype(np.float32))
    released = np.where(np.isnan(masked), MASK, dosages).astype(np.int8) if options["hard"] else masked
    return _judged(at, released, columns, name)


def _narrow(whole: Shard, columns: Array) -> Shard:
    return Shard(x=whole.x[:, columns], label=whole.label, donor=whole.donor, donors=whole.donors, mask=whole.mask)


def _judged(at: World, released: Array, columns: Array, name: str) -> Point:
    """Return who is found in records that are masked by person, and what they are good for."""
    every = np.full((len(released), at.panels.array.shape[1]), MASK if released.dtype == np.int8 else np.nan)
    every[:, columns] = released
    held = attacks.attacked(at.panels, at.sides, every.astype(released.dtype), columns)
    hits = attacks.hits(held, at.rng("attack", "paper", name), False, by_person=True)
    told = np.where(released == MASK, MISSING, released) if released.dtype == np.int8 else released
    kept = float(np.mean(released >= 0)) if released.dtype == np.int8 else float(np.mean(released > 0))
    return {"hits": hits, "kept": round(kept, 4)} | useful(at, told)


PAPER: Mapping[str, Callable[[World], Points]] = {
    "published masks, sites by chance": arm(by_population=False),
    "published masks, sites by population": arm(by_population=True),
}
