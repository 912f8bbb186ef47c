"""Is a relative in the panel? KING-robust kinship, which needs no frequencies and bears mixed populations."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from fedgenome.audit.linkage.dosages import joint
from fedgenome.errors import require
from fedgenome.query import Array

SAME, FIRST, SECOND, THIRD = 2**-1.5, 2**-2.5, 2**-3.5, 2**-4.5  # least kinship of a twin, and of each degree


def kinship(probes: Array, candidates: Array) -> Array:
    """Return the kinship of each probe and candidate, float64 (probes, candidates).

    ½ is the same person, ¼ a parent, child or full sibling. People without a heterozygous variant among the shared
    ones get −∞: nothing can be said of them.

    Source: Manichaikul et al. 2010, "Robust relationship inference in genome-wide association studies", equation 11.

    Args:
        probes: Dosages (probes, variants).
        candidates: Dosages (candidates, variants).
    """
    counts = joint(probes, candidates).astype(np.float64)
    opposite = counts[0, 2] + counts[2, 0]
    left, right = counts[1].sum(0), counts[:, 1].sum(0)
    fewer = np.minimum(left, right)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (counts[1, 1] - 2 * opposite) / (2 * fewer) + 0.5 - (left + right) / (4 * fewer)
    related: Array = np.where(fewer > 0, found, -np.inf)
    return related


def closest(related: Array, owner: Array) -> Array:
    """Return each probe's largest kinship with anybody but itself, float64 (probes,): scores of "a relative is in".

    Args:
        related: Of :func:`kinship`.
        owner: int (probes,): which candidate is the probe's own person; −1 if none is.
    """
    require(owner.shape == (len(related),), "one owner a probe", probes=len(related), shape=owner.shape)
    others = related.copy()
    own = np.flatnonzero(owner >= 0)
    others[own, owner[own]] = -np.inf
    return np.asarray(others.max(axis=1, initial=-np.inf))


def families(related: Array, least: float = THIRD) -> Array:
    """Return whose family everyone is of, int (people,): those linked by kinship of ``least`` or more, however far.

    Args:
        related: Kinship of people with themselves, (people, people).
        least: Least kinship of relatives.
    """
    require(related.ndim == 2 and related.shape[0] == related.shape[1], "(people, people)", shape=related.shape)
    return np.asarray(connected_components(csr_array((related >= least).astype(np.int8)), directed=False)[1])
