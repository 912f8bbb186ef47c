"""Forests over genes, as pairs (k, 2) of which no two ways join the same genes; −1 stands for no pair."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csgraph

from fedgenome.methods.bundle import Floats
from fedgenome.query import Array


@functools.lru_cache(maxsize=4)
def upper(genes: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return both genes of each pair i < j, in order."""
    left, right = np.triu_indices(genes, 1)
    return left, right


def components(pairs: Array, genes: int) -> Array:
    """Return which tree each gene is in, (genes,)."""
    return np.asarray(csgraph.connected_components(_graph(pairs, genes), directed=False)[1])


def joined(pairs: Array, winners: Array, genes: int) -> Array:
    """Return ``pairs`` and those of ``winners``, in their order, whose genes are not joined yet, while there is room.

    Args:
        pairs: int64 (k, 2), a forest.
        winners: Indices of scores: of all pairs in the order of :func:`upper`, and of all pairs once more.
        genes: Their number.
    """
    pairs, (left, right) = pairs.copy(), upper(genes)
    for winner in np.asarray(winners).astype(np.int64) % len(left):
        tree = components(pairs, genes)
        i, j = int(left[winner]), int(right[winner])
        room = np.flatnonzero(pairs[:, 0] < 0)
        if tree[i] != tree[j] and room.size:
            pairs[room[0]] = i, j
    return pairs


def down(pairs: Array, ties: Array, genes: int) -> Floats:
    """Return B (genes, genes): rows e Bᵀ of standard normals e have variance 1 and the forest's correlations.

    A gene is its tie times the gene above it, and the rest its own; genes apart share nothing.

    Args:
        pairs: (k, 2) a forest; −1 for no pair.
        ties: (k,) correlations of pairs, within ±1.
    """
    seen = pairs[:, 0] >= 0
    tie = {frozenset(pair): float(one) for pair, one in zip(pairs[seen].tolist(), ties[seen], strict=True)}
    graph, component = _graph(pairs, genes), components(pairs, genes)
    made = np.eye(genes)
    for root in np.unique(component, return_index=True)[1]:
        order, above = csgraph.breadth_first_order(graph, root, directed=False)
        for gene in order[1:]:
            one = tie[frozenset((int(gene), int(above[gene])))]
            made[gene] = one * made[above[gene]]
            made[gene, gene] = math.sqrt(max(1 - one**2, 0.0))
    return made


def _graph(pairs: Array, genes: int) -> coo_array:
    seen = pairs[(pairs >= 0).all(1)]
    return coo_array((np.ones(len(seen)), (seen[:, 0], seen[:, 1])), shape=(genes, genes))
