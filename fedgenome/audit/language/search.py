"""Best-first search: the likeliest completion, proven so, without looking at all strings.

An edge costs −log p, which is never negative: a string is at least as costly as its beginning. So the first complete
string that is cheaper than all beginnings still open is the likeliest there is (Carlini et al. 2019, by
Dijkstra's algorithm).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fedgenome.audit.language.steps import after
from fedgenome.errors import require
from fedgenome.models.language.base import Causal, State
from fedgenome.query import Array

NODES = 50_000  # beginnings that are stepped before the search gives up
BATCH = 64  # beginnings that are stepped together


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A completion.

    Attributes:
        tokens: int64 (length,); None if the search gave up before any string was complete.
        log_p: Its log-probability, nats.
        proven: Whether no completion is likelier.
        nodes: Beginnings that were stepped.
    """

    tokens: Array | None
    log_p: float
    proven: bool
    nodes: int


@dataclass(order=True, slots=True)
class _Open:
    """A beginning whose last token has not been read yet: its parent's state serves its siblings too."""

    cost: float
    tokens: tuple[int, ...]
    row: int = field(compare=False)
    parents: State = field(compare=False)


def likeliest(model: Causal, prefix: Array, length: int, *, nodes: int = NODES, batch: int = BATCH) -> Found:
    """Return the completion of lowest perplexity, and whether that is proven.

    Beginnings are stepped in batches of one length, the cheapest of those among which the cheapest of all is: more
    than one by one would be, in a fraction of the time.

    Args:
        model: The model.
        prefix: int (tokens,); none: the start.
        length: Tokens of the completion.
        nodes: Beginnings stepped at most; if more are wanted ``proven`` is False.
        batch: Beginnings stepped together.
    """
    require(length >= 1 and batch >= 1, "length >= 1 and batch >= 1", length=length, batch=batch)
    heaps: list[list[_Open]] = [[] for _ in range(length)]  # by tokens of the beginning
    with torch.no_grad():
        logits, state = after(model, np.asarray(prefix)[None])
        best, stepped = _put(heaps, None, [_Open(0.0, (), 0, state)], logits, state), 0
        while True:
            heap = min((each for each in heaps if each), key=lambda each: each[0].cost, default=None)
            if heap is None or (best is not None and heap[0].cost >= best.cost):
                return _found(best, True, stepped)
            if stepped >= nodes:
                return _found(best, False, stepped)
            chosen = [heapq.heappop(heap) for _ in range(min(batch, nodes - stepped, len(heap)))]
            logits, state = model.step(torch.tensor([each.tokens[-1] for each in chosen]), _before(chosen))
            best, stepped = _put(heaps, best, chosen, logits, state), stepped + len(chosen)


def _put(
    heaps: list[list[_Open]], best: _Open | None, parents: list[_Open], logits: Tensor, state: State
) -> _Open | None:
    """Put the children of ``parents`` that may yet be best on their heap; return the cheapest complete string."""
    costs = (-logits.double().log_softmax(1)).clamp(min=0).tolist()
    for row, (parent, edges) in enumerate(zip(parents, costs, strict=True)):
        for token, edge in enumerate(edges):
            child = _Open(parent.cost + edge, (*parent.tokens, token), row, state)
            if best is not None and child.cost >= best.cost:
                continue
            if len(child.tokens) == len(heaps):
                best = child
            else:
                heapq.heappush(heaps[len(child.tokens)], child)
    return best


def _before(chosen: list[_Open]) -> State:
    """Return the states before the last tokens of ``chosen``, whose parents were stepped at different times."""
    parts = len(chosen[0].parents)
    return tuple(torch.stack([each.parents[i][each.row] for each in chosen]) for i in range(parts))


def _found(best: _Open | None, proven: bool, nodes: int) -> Found:
    if best is None:
        return Found(tokens=None, log_p=-math.inf, proven=False, nodes=nodes)
    return Found(tokens=np.array(best.tokens, np.int64), log_p=-best.cost, proven=proven, nodes=nodes)
