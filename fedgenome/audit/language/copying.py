"""What an imputation panel says of a sequence: a mosaic of other people's haplotypes, with a rate of errors.

The baseline of everything that a model of people says: what can be guessed from others is no memory of this person.

Source: Li & Stephens 2003, "Modeling Linkage Disequilibrium and Identifying Recombination Hotspots".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedgenome.errors import require
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Panel:
    """Haplotypes to copy from.

    Attributes:
        rows: Aligned windows of one start, int (haplotypes, window).
        donor: Whose each is, int (haplotypes,): nobody copies from the own.
        vocabulary: V.
        switch: Chance to go on as another haplotype, drawn from all, before a token.
        error: Chance that a token is not the copied one but any of the V, all alike.
    """

    rows: Array
    donor: Array
    vocabulary: int
    switch: float = 0.01
    error: float = 1e-3

    def __post_init__(self) -> None:
        require(0 <= self.switch <= 1 and 0 < self.error <= 1, "0 <= switch <= 1 and 0 < error <= 1")
        require(len(self.donor) == len(self.rows) >= 1, "a donor for every haplotype", haplotypes=len(self.rows))


def conditionals(panel: Panel, rows: Array, donor: Array) -> Array:
    """Return log p of every token at each position given those before, nats, float64 (rows, window, V).

    The forward recursion of the copying model; exact. What is unknown, in a row or in the panel, tells nothing.

    Args:
        panel: Haplotypes to copy from.
        rows: int (rows, window), windows of the panel's start.
        donor: Whose each is, int (rows,), numbered as the panel's.

    Raises:
        SpecError: a row whose donor has all of the panel.
    """
    require(rows.shape[1] <= panel.rows.shape[1], "rows no longer than the panel", length=rows.shape[1])
    others = (donor[:, None] != panel.donor).astype(np.float64)
    require(bool((others.sum(1) > 0).all()), "a panel of other people for every row")
    prior = others / others.sum(1, keepdims=True)
    weights, out = prior, np.empty((*rows.shape, panel.vocabulary))
    for t in range(rows.shape[1]):
        emitted = _emissions(panel, t)  # (haplotypes, V)
        out[:, t] = weights @ emitted
        known = rows[:, t] < panel.vocabulary
        likely = np.where(known[:, None], emitted.T[np.where(known, rows[:, t], 0)], 1.0)
        weights = weights * likely
        weights /= weights.sum(1, keepdims=True)
        weights = (1 - panel.switch) * weights + panel.switch * prior
    return np.asarray(np.log(out))


def log_probabilities(panel: Panel, rows: Array, donor: Array) -> Array:
    """Return log p of each token given those before, nats, float64 (rows, window); 0 where it is unknown.

    As ``models.language.base.log_probabilities`` of a causal model.
    """
    known = rows < panel.vocabulary
    logs = np.take_along_axis(conditionals(panel, rows, donor), np.where(known, rows, 0)[..., None], 2)[..., 0]
    return np.asarray(np.where(known, logs, 0.0))


def _emissions(panel: Panel, t: int) -> Array:
    """Return the chance of each token at position ``t`` by copied haplotype, (haplotypes, V); unknown: all alike."""
    v, column = panel.vocabulary, panel.rows[:, t]
    copied = (column[:, None] == np.arange(v)).astype(np.float64)
    copied[column >= v] = 1 / v
    return np.asarray((1 - panel.error) * copied + panel.error / v)
