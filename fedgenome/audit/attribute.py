"""Attribute inference: who knows some of a record's genes guesses the others from the table (synthetic data only).

Source: Giomi et al. 2023, "A Unified Framework for Quantifying Privacy Risk in Synthetic Data" (arXiv 2211.10459,
inference risk): the guess is what the nearest synthetic row has, and what a guess of anybody's genes would get right
is no leak. There that share is taken off by attacking controls; here every record's guess is held against one from
other people's rows, and controls are attacked besides.
"""

from __future__ import annotations

import numpy as np

from fedgenome.audit.distance import neighbours
from fedgenome.audit.targets import Records, Target
from fedgenome.query import Array

SECRET = 0.25  # share of the genes that are guessed, at least one; who attacks knows the others


def inferred(people: Records, target: Target, base: Records) -> Array:
    """Score rows by how much better the table guesses their secret genes than the control base, float64 (rows,).

    score = (e_base − e_table)/(e_base + e_table) of the mean absolute errors: 1 where the table's guess alone is
    right, 0 where both are as far off, also by nothing. A guess is the row nearest by the known genes. Which genes
    are known is drawn once for all, from a public seed. Of a single gene nothing is known, and the score is 0.
    """
    secret, known = split_genes(people.x.shape[1])
    if not known.size:
        return np.zeros(len(people))
    by_table, by_base = (_error(people.x, rows.x, known, secret) for rows in (target.table, base))
    both = by_table + by_base
    return np.asarray(np.divide(by_base - by_table, both, out=np.zeros(len(people)), where=both > 0))


def split_genes(genes: int) -> tuple[Array, Array]:
    """Return positions of the secret genes and of the known ones, the same for every audit of as many genes."""
    order = np.random.default_rng(0).permutation(genes)
    secret = max(1, round(SECRET * genes))
    return order[:secret], order[secret:]


def _error(rows: Array, others: Array, known: Array, secret: Array) -> Array:
    """Return the mean absolute error over ``secret`` of the guess from ``others``, float64 (rows,)."""
    guess = others[neighbours(rows[:, known], others[:, known])]
    return np.asarray(np.abs(rows[:, secret] - guess[:, secret]).mean(axis=1, dtype=np.float64))
