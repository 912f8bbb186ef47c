"""Classifiers of the library trained with DP on people of the study: calibrated, trained as by one trusted server.

ε is add-or-remove, of a person, by privacy loss distributions with all of δ, everything paid: charged preludes, or the
public range. Noise comes in floating point (:mod:`experiments.central`).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from experiments.deeptype.people import METABRIC, SIMULATED, TCGA, People
from experiments.synthesis import loop
from experiments.synthesis.loop import Facts, Kind
from fedgenome.cohort.shard import Shard
from fedgenome.methods import registry
from fedgenome.methods.preludes import Classifying
from fedgenome.privacy import accounting
from fedgenome.query import Array
from fedgenome.study import Plan, Schema

DELTA = 1e-5
BOUNDS = MappingProxyType({SIMULATED: 1800, TCGA: 900, METABRIC: 1600})  # public, on the people that train a model
_WIDTH = 3.0  # deviations that a gene keeps on either side of its centre, as in :mod:`fedgenome.methods.standardise`


def method(
    options: Mapping[str, Any], schema: Schema, bound: int, epsilon: float, kind: str = "deeptype"
) -> Classifying:
    """Return the classifier that costs ``epsilon`` with ``options``.

    Raises:
        SpecError: see :func:`fedgenome.methods.registry.build`.
    """
    facts = Facts(schema=schema, donors_bound=bound, delta=DELTA, rows=0)
    made = loop.at(Kind(kind=kind, options=options), facts, _level(kind, json.dumps(options), facts, epsilon))
    return cast(Classifying, made)


@functools.lru_cache
def _level(kind: str, options: str, facts: Facts, epsilon: float) -> float:
    """Return the noise of one trusted server, with all of δ: a federation refuses ε = 46 (``accounting.usable``)."""
    spec = Kind(kind=kind, options=json.loads(options)).spec
    made = registry.build(spec, facts.schema, facts.donors_bound, True)
    return accounting.calibrate(lambda noise: Plan(mechanisms=made.plan(noise)), epsilon, DELTA)


def head(cohort: str, arm: str, epsilon: float) -> dict[str, Any]:
    """Return what a line of any such classifier says first."""
    return {"cohort": cohort, "arm": arm, "epsilon": epsilon, "delta": DELTA, "unit": "person"}


def shard(who: People, rows: npt.NDArray[np.bool_]) -> Shard:
    """Return the people of some rows as a site's, in the schema's units."""
    owners, owner = np.unique(who.owner[rows], return_inverse=True)
    return Shard(
        x=raw(who)[rows],
        label=who.label[rows],
        donor=owner,
        donors=tuple(f"person-{one}" for one in owners),
        mask=np.ones(int(rows.sum()), np.bool_),
    )


def raw(who: People) -> npt.NDArray[np.float32]:
    """Return expression in the schema's units, float32 (rows, genes)."""
    low, high = who.schema.low, who.schema.high
    return (low + (high - low) * who.x.astype(np.float64)).astype(np.float32)


def standardised(who: People, rows: npt.NDArray[np.bool_]) -> People:
    """Return the cohort with genes centred and scaled by the true figures of ``rows``, which nobody has paid for."""
    centre, spread = who.x[rows].mean(0), who.x[rows].std(0)
    z = (who.x - centre) / (_WIDTH * np.where(spread > 0, spread, np.float32(1)))
    return replace(who, x=(np.clip(z, -1, 1) + 1) / 2)


def logits(made: Classifying, who: People, rows: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.float32]:
    """Train ``made`` on the people of ``rows``; return what it says of all rows, log-probabilities (rows, classes)."""
    return told(made, loop.trained(made, shard(who, rows), seed), who)


def told(made: Classifying, arrays: Mapping[str, Array], who: People) -> npt.NDArray[np.float32]:
    """Return the log-probability of each class, float32 (rows, classes)."""
    x = raw(who)
    each = [-made.losses(arrays, x, np.full(len(x), label)) for label in range(who.classes)]
    return np.stack(each, 1).astype(np.float32)
