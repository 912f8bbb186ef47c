"""Singling out: whether predicates made from the table alone hold of exactly one real person (synthetic data only).

A predicate is a row's most extreme genes, each about as far out as the row has it or farther, as few of them as no
other row of the table meets. It *singles out* a person if it holds of that person and of nobody else among members and
evaluated controls together. Whom it singles out depends on table and pool, not on who of the pool was a member; so if
the table does not either, the members among them are a draw from the pool: hypergeometric, and the level exact,
whatever the data.

That is why it is a finding of its own and no score of a person: "exactly one" is said of all people at once, so that a
person's score would hang on others in question. And it is why people are counted and not predicates, as in the paper:
predicates that isolate the same person, or are refuted by the same person, are no independent trials.

Source: Giomi et al. 2023, "A Unified Framework for Quantifying Privacy Risk in Synthetic Data" (arXiv 2211.10459,
multivariate singling out, residual risk). Deviations: people, as above; one pool in place of members and of as many
controls apart; and as many genes as isolate the row, not a number fixed beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedgenome.audit.bounds import effects
from fedgenome.audit.bounds.clopper_pearson import Counts
from fedgenome.audit.bounds.effects import Effect, Tails
from fedgenome.audit.targets import Records, Target, joined
from fedgenome.query import Array

NAME = "singling-out"
SLACK = 0.05  # of the public range: a value a bin of a twentieth nearer to the middle still meets its predicate
MOST = 16  # genes of a predicate
PREDICATES = 2000  # of a longer table so many rows make predicates, spread evenly


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predicate:
    """All of ``sign`` · x[``gene``] ≥ ``bound``, one entry a gene."""

    gene: Array
    sign: Array
    bound: Array

    def holds(self, x: Array) -> Array:
        """Return of which rows of ``x`` (rows, genes) it holds, bool (rows,)."""
        return np.asarray((self.sign * x[:, self.gene] >= self.bound).all(axis=1))


def predicates(table: Array) -> Iterator[Predicate]:
    """Yield the predicates of a scaled table (rows, genes), which is all that an attacker needs to make them."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(len(table), PREDICATES)).round().astype(int))
    beyond, sign = _tails(table[rows], table)
    for at, outer, side in zip(rows, beyond, sign, strict=True):
        gene = np.argsort(outer, kind="stable")[:MOST]
        bound = side[gene] * table[at, gene] - SLACK
        # How many rows meet the first gene, the first two, …: never fewer than one, the row itself.
        met = np.logical_and.accumulate(side[gene] * table[:, gene] >= bound, axis=1).sum(axis=0)
        used = slice(0, 1 + int((met > 1).sum()))
        yield Predicate(gene=gene[used], sign=side[gene[used]], bound=bound[used])


def _tails(rows: Array, table: Array) -> tuple[Array, Array]:
    """Return of each row and gene how many of the table are as far out, and the side: 1 above the middle, −1 below."""
    beyond, sign = np.empty(rows.shape, np.int32), np.empty(rows.shape, np.int8)
    for gene, (values, column) in enumerate(zip(rows.T, np.sort(table, axis=0).T, strict=True)):
        low = np.searchsorted(column, values, "right")
        high = len(column) - np.searchsorted(column, values, "left")
        beyond[:, gene], sign[:, gene] = np.minimum(low, high), np.where(high <= low, 1, -1)
    return beyond, sign


def singling_out(members: Records, controls: Records, target: Target, tails: Tails | None = None) -> Effect:
    """Return the residual risk (x − c)/(1 − c) of the shares of members and of controls who are singled out.

    Its p-value, of so many members or more by chance, is exact; its ends are Clopper–Pearson's of both shares.

    Args:
        members: Scaled rows of training donors; who has several is singled out by any of them.
        controls: Scaled rows of the evaluated controls, exchangeable with the members.
        target: Its table makes the predicates.
        tails: Chances of the ends; default: this finding alone, at 95 %.
    """
    alone = singled_out(joined(members, controls), target.table)
    inside, outside = np.split(alone, [len(members.units)])
    counts = Counts(hits=int(inside.sum()), members=len(inside), false_alarms=int(outside.sum()), controls=len(outside))
    return effects.residual(NAME, counts, tails or effects.tails_for(1))


def singled_out(pool: Records, table: Records) -> Array:
    """Return whom of ``pool`` a predicate of ``table`` singles out, bool (donors,), in the order of sorted donors."""
    order = np.argsort(pool.owner, kind="stable")
    x, first = pool.x[order], np.unique(pool.owner[order], return_index=True)[1]
    alone = np.zeros(len(first), bool)
    for predicate in predicates(table.x):
        who = np.logical_or.reduceat(predicate.holds(x), first)
        if who.sum() == 1:
            alone |= who
    return alone
