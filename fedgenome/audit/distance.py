"""Distance to the closest record, and the attack made of it (threat: synthetic data only)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fedgenome.audit.targets import Records, Target
from fedgenome.errors import require
from fedgenome.query import Array

_BLOCK = 2048  # rows of either side held at once: 32 MiB of float64 products


def nearest(rows: Array, table: Array) -> Array:
    """Return the Euclidean distance of each row to its nearest row of ``table``, float64 (rows,).

    The neighbour is found by products in float64, its distance then taken by differences, so that a
    verbatim copy is at exactly 0. Neighbours closer than about 1e-7 to each other may be swapped.
    """
    apart = (np.linalg.norm(part - table[at].astype(np.float64), axis=1) for part, at in _found(rows, table))
    return np.concatenate([np.empty(0), *apart])


def neighbours(rows: Array, table: Array) -> Array:
    """Return the position in ``table`` of each row's nearest row, int64 (rows,), as :func:`nearest` finds it."""
    return np.concatenate([np.empty(0, np.int64), *(at for _, at in _found(rows, table))])


def _found(rows: Array, table: Array) -> Iterator[tuple[Array, Array]]:
    """Yield rows, block by block in float64, and the positions of their neighbours."""
    require(len(table) > 0, "a table of at least one row")
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK].astype(np.float64)
        yield part, _neighbours(part, table)


def _neighbours(rows: Array, table: Array) -> Array:
    closest, best = np.zeros(len(rows), np.int64), np.full(len(rows), np.inf)
    for start in range(0, len(table), _BLOCK):
        block = table[start : start + _BLOCK].astype(np.float64)
        # |a − b|² − |a|²: the part of the squared distance that differs between neighbours.
        partial = np.einsum("ij,ij->i", block, block) - 2.0 * rows @ block.T
        winner = partial.argmin(axis=1)
        value = partial[np.arange(len(rows)), winner]
        closest = np.where(value < best, start + winner, closest)
        best = np.minimum(best, value)
    return closest


def nearest_in_class(people: Records, table: Records) -> Array:
    """Return each row's distance to the nearest row of its own class, float64 (rows,).

    A class that the table lacks is compared with the whole table: the same rule for members and
    controls, so it favours neither.
    """
    out = np.empty(len(people))
    for each in np.unique(people.label):
        mine, theirs = people.label == each, table.label == each
        out[mine] = nearest(people.x[mine], table.x[theirs] if theirs.any() else table.x)
    return out


def closest_record(people: Records, target: Target, base: Records) -> Array:
    """Score rows by how much closer the synthetic table is than a control base, float64 (rows,).

    score = −d_table / (d_table + d_base): −1 far from the table, 0 for a verbatim copy, −1/2 where
    both are equally close (also where both hold the row). The base are real donors who are neither
    members nor evaluated controls. A row is close to *any* table if it lies where people are many;
    dividing by the distance to the base takes that out, which the bare distance does not.
    """
    to_table, to_base = nearest(people.x, target.table.x), nearest(people.x, base.x)
    both = to_table + to_base
    return np.asarray(-np.divide(to_table, both, out=np.full(len(people), 0.5), where=both > 0))


def per_donor(scores: Array, donor: Array) -> Array:
    """Return the mean score of each donor's rows, float64 (donors,), in the order of sorted donors.

    The donor is the unit: rows of one person are not independent, so intervals count people.
    """
    _, inverse, counts = np.unique(donor, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(inverse, weights=scores) / counts)
