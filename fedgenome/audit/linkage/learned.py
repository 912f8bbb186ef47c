"""Identifiers that learn: two records into one space by one network, near each other if they are of one person.

They are trained from nothing on other people, masked as the release finally is: a network that was trained against a
masker while that one moved is blind where a fresh one sees. A trained identifier is a weapon of re-identification: no
release holds one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedgenome.audit.linkage.dosages import GENOTYPES, require_dosages
from fedgenome.audit.linkage.matcher import ERROR
from fedgenome.errors import require
from fedgenome.models.masking.identifiers import SHARPNESS, Kind, network, placed
from fedgenome.models.parameters import initialise
from fedgenome.query import Array

STEPS, BATCH, RATE = 400, 64, 3e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identifier:
    """A trained network.

    Attributes:
        network: Records into places.
        told: The variants that it reads, bool (variants,).
    """

    network: nn.Module
    told: Array


def train(
    kind: Kind,
    base: Array,
    pairs: tuple[Array, Array],
    rng: np.random.Generator,
    *,
    steps: int = STEPS,
    error: float = ERROR,
) -> Identifier:
    """Train an identifier from nothing: each probe of a batch is to be nearest to its own record.

    Half of a batch are pairs, with fresh errors in the probe; half are made people, each variant from somebody of
    ``base``, so that there are always new ones. Variants that no probe of ``pairs`` shows are masked, and not read.

    Args:
        kind: Which network.
        base: Dosages of other people.
        pairs: Others' probes, masked as the release is, and their panel records row by row.
        rng: Draws weights, batches and errors.
        steps: The budget, in batches of 64.
        error: Chance of each told entry of a probe to be replaced.

    Raises:
        SpecError: no variant is told, pairs of different shapes, no step.
    """
    probes, owners = pairs
    require_dosages(base=base, probes=probes, owners=owners)
    require(probes.shape == owners.shape and len(probes) >= 2, "two pairs", probes=probes.shape, owners=owners.shape)
    require(steps >= 1 and 0 <= error < 1, "steps >= 1, 0 <= error < 1", steps=steps, error=error)
    told = np.asarray((probes >= 0).any(0))
    require(bool(told.any()), "a variant that is told")
    base, probes, owners = base[:, told], probes[:, told], owners[:, told]
    fresh = network(kind, int(told.sum()))
    initialise(fresh, rng)
    optimiser = torch.optim.Adam(fresh.parameters(), lr=RATE, fused=True)
    own = torch.arange(min(BATCH // 2, len(probes)) + BATCH // 2)
    for _ in range(steps):
        chosen = rng.choice(len(probes), min(BATCH // 2, len(probes)), replace=False)
        made = base[rng.integers(0, len(base), (BATCH // 2, base.shape[1])), np.arange(base.shape[1])]
        left = _with_errors(np.concatenate([probes[chosen], made]), error, rng)
        cosines = SHARPNESS * _cosines(fresh, left, np.concatenate([owners[chosen], made]))
        loss = nn.functional.cross_entropy(cosines, own) + nn.functional.cross_entropy(cosines.T, own)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return Identifier(network=fresh.eval(), told=told)


def identified(fitted: Identifier, probes: Array, candidates: Array) -> Array:
    """Return how near each probe and candidate lie, cosines, float64 (probes, candidates)."""
    width = require_dosages(probes=probes, candidates=candidates)
    require(width == len(fitted.told), "the identifier's variants", identifier=len(fitted.told), got=width)
    with torch.no_grad():
        found = _cosines(fitted.network, probes[:, fitted.told], candidates[:, fitted.told])
    return np.asarray(found.numpy(), dtype=np.float64)


def _cosines(network: nn.Module, left: Array, right: Array) -> Tensor:
    return placed(network, *_inputs(left)) @ placed(network, *_inputs(right)).T


def _inputs(dosages: Array) -> tuple[Tensor, Tensor]:
    told = torch.from_numpy(np.asarray(dosages >= 0, np.float32))
    return told * torch.from_numpy(dosages.astype(np.float32) - 1), told


def _with_errors(dosages: Array, rate: float, rng: np.random.Generator) -> Array:
    wrong = (dosages >= 0) & (rng.random(dosages.shape) < rate)
    return np.where(wrong, rng.integers(0, GENOTYPES, dosages.shape, dtype=np.int8), dosages)
