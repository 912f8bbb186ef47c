"""How near a table's rows come to people, in bins that only the table decides, and which canaries it seems to hold.

Pure functions of rows that may leave and of one record at a time: no control base, whose every member would move
everybody's score.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fedgenome.query import Array

Floats = npt.NDArray[np.float64]

BINS = 12
IN, OUT = 1, -1  # guesses
_NEAR = (0.1, 0.25, 0.5)  # edges whatever the rows are like: copies lie below the first
_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)  # of other rows, at whose scores the rest of the edges are
_OUTER = 0.2  # of the range, at either end
_FEWEST = 4  # canaries: of fewer none is guessed
_CELLS = 1 << 22  # distances held at once: 32 MiB


def nearness(x: Array, rows: Array) -> Floats:
    """Return each record's distance to the nearest of ``rows`` over its root mean square distance to them, (n,).

    0 for a copy, up to 1; 1 where all rows are the record itself.

    Args:
        x: (n, genes), finite.
        rows: (rows, genes), finite.
    """
    table = rows.astype(np.float64)
    squares = np.einsum("ij,ij->i", table, table)
    step = max(1, _CELLS // max(1, len(table)))
    parts = [_nearness(x[i : i + step].astype(np.float64), table, squares) for i in range(0, len(x), step)]
    return np.concatenate([np.zeros(0), *parts])


def _nearness(x: Floats, table: Floats, squares: Floats) -> Floats:
    partial = squares - 2 * x @ table.T  # without |x|², the same for all rows
    nearest = partial.argmin(axis=1)
    near = np.linalg.norm(x - table[nearest], axis=1)  # by differences: a copy is at exactly 0
    mean = np.sqrt(np.maximum(partial.mean(axis=1) + np.einsum("ij,ij->i", x, x), near**2))
    return np.asarray(np.divide(near, mean, out=np.ones(len(x)), where=mean > 0))


def edges(scores: Floats) -> Floats:
    """Return rising edges: the fixed ones, and quantiles of ``scores``, each above the one before."""
    rising = np.sort(np.concatenate([_NEAR, np.quantile(scores, _SHARES)]))
    for i in range(1, BINS - 1):
        rising[i] = max(rising[i], np.nextafter(rising[i - 1], math.inf))
    return np.asarray(rising)


def guesses(x: Array, label: Array, rows: Array, codes: Array) -> npt.NDArray[np.int8]:
    """Return for each canary a guess from rows of the release: 1 for the highest quarter, -1 for the lowest, else 0.

    Ranked by the sum of three standardised scores, fixed before any release was seen: how near the nearest row is, and
    how far rows of the canary's label go its way more than all rows do, once by their mean and once by how many of
    their values lie in the outer fifth of the range at its end. The first sees copies, the others sums and tables.

    Args:
        x: The canaries, (n, genes) at the ends of the range.
        label: Their labels, int64 (n,).
        rows: Rows drawn from the release, (rows, genes).
        codes: Their labels, int64 (rows,).
    """
    if len(x) < _FEWEST:
        return guessed(np.zeros(len(x)))
    low, high = float(x.min()), float(x.max())
    up = x == high
    outer = _OUTER * (high - low)
    scores = [
        -nearness(x, rows),
        _own(np.where(up, 1.0, -1.0), label, rows, codes),
        _own(up, label, rows >= high - outer, codes) + _own(~up, label, rows <= low + outer, codes),
    ]
    return guessed(np.asarray(sum(score / max(float(score.std()), 1e-30) for score in scores)))


def guessed(score: Floats) -> npt.NDArray[np.int8]:
    """Return a guess for each canary: 1 for the highest quarter of the scores, -1 for the lowest, else 0.

    Of fewer than four canaries none is guessed.
    """
    told, quarter = np.zeros(len(score), np.int8), len(score) // 4
    if len(score) >= _FEWEST:
        order = np.argsort(score, kind="stable")
        told[order[-quarter:]], told[order[:quarter]] = IN, OUT
    return told


def one_hot(codes: Array, vocabulary: int) -> npt.NDArray[np.float32]:
    """Return codes of tokens (rows, positions) as 0 and 1, (rows, positions · V): an unknown token is all zeros.

    Codes are names: A is no nearer to C than to T, and the squared distance of two rows is twice the number of
    positions at which they differ.
    """
    hot: npt.NDArray[np.bool_] = codes[..., None] == np.arange(vocabulary)
    return hot.reshape(len(codes), -1).astype(np.float32)


def _own(side: Array, label: Array, rows: Array, codes: Array) -> Floats:
    """Return side · (mean of the rows of a canary's label − mean of all rows), (n,)."""
    middle = rows.mean(axis=0)
    one = [
        rows[codes == code].mean(axis=0) - middle if (codes == code).any() else 0 * middle for code in np.unique(label)
    ]
    return np.asarray(np.einsum("ij,ij->i", side, np.stack(one)[np.unique(label, return_inverse=True)[1]]))
