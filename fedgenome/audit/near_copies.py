"""Near-copies: whether the table's rows that lie oddly close to one person lie close to members.

The rule is fixed beforehand and treats members and evaluated controls as one pool of people. Each row of the table has
a nearest person, and is nearer to that person than to the next by some ratio; the rows of the smallest ratios are the
*tail*. Nothing in it depends on who was a member. If the table does not either, the members among the k different
people of the tail are a draw from the pool: their number is hypergeometric whatever the data, and the level exact.

An AUC over all members does not see a few copies; this does (threat: synthetic data only). But k people allow no
p-value below about (members/(members + controls))^k: beside few controls few copies can never be shown.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from fedgenome.audit.bounds.rates import binomial_bounds
from fedgenome.audit.results import LEVEL, Interval, NearCopies
from fedgenome.audit.targets import Records, Target, joined
from fedgenome.query import Array

NAME, THREAT = "near-copies", "synthetic data only"
SHARE = 0.02  # of the table's rows: the tail
REACH = 1e-3  # the tail is long enough for such a p-value, if the table has rows enough
_CELLS = 1 << 22  # distances held at once: 32 MiB


def tail_rows(rows: int, members: int, controls: int) -> int:
    """Return how many of the table's rows are the tail: ``SHARE`` of them, or what p = ``REACH`` takes if that is more.

    Args:
        rows: Rows of the table.
        members: Donors among the members.
        controls: Donors among the evaluated controls.
    """
    needed = math.ceil(math.log(REACH) / math.log(members / (members + controls)))
    return min(rows, max(math.ceil(SHARE * rows), needed))


def near_copies(members: Records, controls: Records, target: Target, level: float = LEVEL) -> NearCopies:
    """Return how many of the people nearest to the tail are members, and how likely so many are by chance.

    A row that lies equally near to two people tells neither and is left out. One person counts once, however many
    rows lie near: copies of the same person are no independent evidence.

    Args:
        members: Scaled rows of training donors.
        controls: Scaled rows of the evaluated controls, exchangeable with the members.
        target: Its table is looked at.
        level: Two-sided confidence of the share's interval (Clopper–Pearson, which is wider than it need be here).
    """
    m, n = len(members.units), len(controls.units)
    person, ratio = _nearest_people(target.table.x, members, controls)
    closest = np.argsort(ratio, kind="stable")[: tail_rows(len(ratio), m, n)]
    seen = np.unique(person[closest[ratio[closest] < 1]])
    k, found = len(seen), int((seen < m).sum())
    low, high = binomial_bounds(found, k, (1 - level) / 2) if k else (0.0, 1.0)
    share = found / k if k else m / (m + n)
    return NearCopies(
        name=NAME,
        threat=THREAT,
        rows=len(closest),
        people=k,
        members=found,
        chance=m / (m + n),
        share=Interval(estimate=share, low=low, high=high, level=level, method="Clopper–Pearson"),
        p_value=float(stats.hypergeom.sf(found - 1, m + n, m, k)),
        best_p_value=float(stats.hypergeom.sf(min(k, m) - 1, m + n, m, k)),
    )


def _nearest_people(table: Array, members: Records, controls: Records) -> tuple[Array, Array]:
    """Return of each table row the nearest person, members numbered first, and its distance over the next person's."""
    people = joined(members, controls)
    pool = people.x.astype(np.float64)
    step = max(1, _CELLS // len(pool))
    parts = [_nearest_two(table[i : i + step], pool, people.owner) for i in range(0, len(table), step)]
    return np.concatenate([first for first, _ in parts]), np.concatenate([ratio for _, ratio in parts])


def _nearest_two(rows: Array, pool: Array, owner: Array) -> tuple[Array, Array]:
    rows = rows.astype(np.float64)
    # |b|² − 2ab: the part of the squared distance that differs between people.
    partial = np.einsum("ij,ij->i", pool, pool) - 2.0 * rows @ pool.T
    first = partial.argmin(axis=1)
    partial[owner[first][:, None] == owner] = np.inf
    second = partial.argmin(axis=1)
    # By differences: a verbatim copy is at exactly 0, and equal rows at equal distances.
    near, far = (np.linalg.norm(rows - pool[at], axis=1) for at in (first, second))
    swapped = far < near  # closer to each other than the products can tell
    first = np.where(swapped, second, first)
    near, far = np.minimum(near, far), np.maximum(near, far)
    return owner[first], np.divide(near, far, out=np.ones(len(rows)), where=far > 0)
