"""A method of the library, from its options to rows: calibrated, trained as by one trusted server, drawn from."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments import central
from fedgenome.audit.targets import Records
from fedgenome.cohort.shard import Shard
from fedgenome.errors import SpecError
from fedgenome.methods import registry
from fedgenome.methods.base import Generator, Method
from fedgenome.privacy import accounting
from fedgenome.query import Array
from fedgenome.streams import Root
from fedgenome.study import MethodSpec, Plan, Schema
from fedgenome.synthesis import synthesize


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What everybody may know of a study.

    Attributes:
        schema: Genes, labels and range.
        donors_bound: Public bound on the donors in training.
        delta: δ.
        rows: Synthetic rows.
    """

    schema: Schema
    donors_bound: int
    delta: float
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of the registry with its options."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> MethodSpec:
        """The method of a study."""
        return MethodSpec(kind=self.kind, options=dict(self.options))


def method(kind: Kind, facts: Facts, epsilon: float | None) -> Method:
    """Return the calibrated method; without ``epsilon``, the one that adds no noise.

    Raises:
        SpecError: see :func:`fedgenome.methods.registry.build`.
    """
    if epsilon is None:
        return registry.build(kind.spec, facts.schema, facts.donors_bound, False)
    return at(kind, facts, _level(json.dumps([kind.kind, dict(kind.options)]), facts, epsilon))


def at(kind: Kind, facts: Facts, noise: float) -> Method:
    """Return the method at a noise multiplier, whatever it costs."""
    return registry.build(kind.spec, facts.schema, facts.donors_bound, True).at(noise)


@functools.lru_cache
def _level(kind: str, facts: Facts, epsilon: float) -> float:
    name, options = json.loads(kind)
    made = registry.build(MethodSpec(kind=name, options=options), facts.schema, facts.donors_bound, True)

    def plan(noise: float) -> Plan:
        return Plan(mechanisms=made.plan(noise))

    return accounting.calibrate(plan, epsilon, accounting.usable(plan(1.0), epsilon, facts.delta))


def trained(made: Method, shard: Shard, seed: int, colluders: int = 0) -> dict[str, Array]:
    """Return what ``made`` releases after training on all donors of ``shard``."""
    root = Root.simulation(seed, "central")
    noise, start = (root.stream(what, made.name).generator() for what in ("noise", "start"))
    return central.trained(made, shard, root, noise, start, colluders)


def table(made: Method, arrays: Mapping[str, Array], rows: int, seed: int) -> Records:
    """Return rows drawn from a release, their labels from its paid label shares."""
    if not isinstance(made, Generator):
        raise SpecError(f"methods.{made.name}: expected a method that generates rows")
    drawn = synthesize(made, arrays, rows, Root.simulation(seed, "table").stream(made.name).generator())
    return Records(x=drawn.x, label=drawn.label)
