"""Log-probabilities of all V^L strings with which a window can begin, in one walk: exposure without sampling.

Children of a node share its state, so that a string costs one step of the model, not L. The walk goes down first in
one bounded block of nodes at a time; what it holds does not grow with V^L but for the answer.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from fedgenome.audit.bounds import exposure
from fedgenome.audit.language.steps import after, picked
from fedgenome.errors import require
from fedgenome.models.language.base import Causal, Masked, State
from fedgenome.query import Array

MOST = 4**13  # strings: half a gigabyte of float64
_NODES = 4096  # that are stepped together
_SUM = 1e-6  # how far from 1 the probabilities of all strings may add up


def table(model: Causal, length: int, prefix: Array | None = None, nodes: int = _NODES) -> Array:
    """Return log p of every string that may follow ``prefix``, nats, float64 (V^length,), in order of their codes.

    Args:
        model: A causal model.
        length: L.
        prefix: Tokens before them, int (tokens,); default: none, so that strings begin a window.
        nodes: How many are stepped together; it changes memory and time alone.

    Raises:
        SpecError: too many strings, or probabilities that do not sum to 1 within 1e-6: then ``begin``, ``step`` or
            the logits are not what they should be.
    """
    v = model.vocabulary
    require(length >= 1 and v**length <= MOST, f"between 1 token and {MOST} strings", length=length, vocabulary=v)
    out = torch.empty(v**length, dtype=torch.float64)
    with torch.no_grad():
        logits, state = after(model, np.empty((1, 0), np.int64) if prefix is None else np.asarray(prefix)[None])
        _fill(model, out, out.new_zeros(1), logits, state, max(1, nodes // v))
    total = float(out.exp().sum())
    require(abs(total - 1) <= _SUM, "probabilities of all strings that sum to 1", total=total)
    return out.numpy()


def _fill(model: Causal, out: Tensor, above: Tensor, logits: Tensor, state: State, parents: int) -> None:
    """Write log p of all strings below some nodes.

    Args:
        model: The model.
        out: Where to, (nodes · V^levels left,).
        above: log p of each node, (nodes,).
        logits: Of its children, (nodes, V).
        state: After each node.
        parents: Nodes whose children are stepped together.
    """
    v = model.vocabulary
    children = (above[:, None] + logits.double().log_softmax(1)).flatten()
    if len(out) == len(children):
        out.copy_(children)
        return
    below = len(out) // len(children)
    for first in range(0, len(above), parents):
        here = torch.arange(first, min(first + parents, len(above)))
        tokens = torch.arange(v).repeat(len(here))
        deeper, after_child = model.step(tokens, picked(state, here.repeat_interleave(v)))
        span = slice(first * v, first * v + len(tokens))
        _fill(model, out[span.start * below : span.stop * below], children[span], deeper, after_child, parents)


def pseudo_table(model: Masked, length: int, window: int | None = None, rows: int = _NODES) -> Array:
    """Return the pseudo-log-likelihood of every string, Σ_t log p(x_t | the others), nats, float64 (V^length,).

    It ranks strings as log p does, but is no probability: the sum over strings is not 1. The V strings that differ
    at the hidden position share its logits.

    Args:
        model: A masked model.
        length: L.
        window: Tokens of a window; those after the string are hidden. Default: the string alone.
        rows: Strings that the model reads together.
    """
    v, width = model.vocabulary, window or length
    require(length >= 1 and v**length <= MOST, f"between 1 token and {MOST} strings", length=length, vocabulary=v)
    require(width >= length, "a window of the length at least", window=width, length=length)
    out = torch.zeros(v**length, dtype=torch.float64)
    with torch.no_grad():
        for t in range(length):
            stride = v ** (length - 1 - t)  # between strings that differ at t alone
            for codes in torch.split(torch.arange(v ** (length - 1)), rows):
                first = codes // stride * stride * v + codes % stride  # those with token 0 at t
                logs = _hidden(model, first, t, length, width).double().log_softmax(1)
                out[first[:, None] + stride * torch.arange(v)] += logs
    return out.numpy()


def _hidden(model: Masked, codes: Tensor, t: int, length: int, width: int) -> Tensor:
    """Return the logits of token ``t`` of strings, (strings, V), where it and what follows the strings is hidden."""
    tokens = torch.zeros((len(codes), width), dtype=torch.int64)
    tokens[:, :length] = codes[:, None] // model.vocabulary ** torch.arange(length - 1, -1, -1) % model.vocabulary
    hidden = torch.zeros(tokens.shape, dtype=torch.bool)
    hidden[:, t] = hidden[:, length:] = True
    logits: Tensor = model(tokens, hidden)[:, t]
    return logits


def codes(strings: Array, vocabulary: int) -> Array:
    """Return the number of each string in a table, int64 (strings,): the first token counts most.

    >>> codes(np.array([[0, 0], [1, 3]]), 4)
    array([0, 7])
    """
    require(bool(((strings >= 0) & (strings < vocabulary)).all()), "known tokens only")
    return np.asarray(strings @ vocabulary ** np.arange(strings.shape[1] - 1, -1, -1, dtype=np.int64))


def exposures(log_p: Array, canaries: Array, vocabulary: int, law: Array | None = None) -> Array:
    """Return the exposure of canaries in bits, float64 (canaries,), exact; ties count against them.

    Under the uniform law it is log2|R| − log2 rank (``bounds.exposure.exact``). Under another a string counts as much
    as it is likely to be drawn: −log2 P(a draw scores as high as the canary). A canary that was not planted has
    P(bits ≥ t) ≤ 2^−t either way. Ranked among all strings alike, one that looks like the data would stand out
    without being known.

    Args:
        log_p: Of all strings, (V^L,), from :func:`table` or :func:`pseudo_table`.
        canaries: int (canaries, L).
        vocabulary: V.
        law: log-probability of each string under the canaries' law, (V^L,), up to a constant; −inf for those that no
            canary may be. Default: uniform.
    """
    require(len(log_p) == vocabulary ** canaries.shape[1], "a score for every string", strings=len(log_p))
    mine = codes(canaries, vocabulary)
    if law is None:
        return exposure.exact(-log_p[mine], -log_p)
    require(law.shape == log_p.shape and bool((law[mine] > -np.inf).all()), "a law under which canaries can be drawn")
    order = np.argsort(-log_p)
    likely = np.cumsum(np.exp(law[order] - law.max()))
    at_or_above = np.searchsorted(-log_p[order], -log_p[mine], side="right")
    return np.asarray((math.log(likely[-1]) - np.log(likely[at_or_above - 1])) / math.log(2))
