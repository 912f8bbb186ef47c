"""Windows written by a language model: drawn token by token from what it says, by a passed generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedgenome.models.language.base import Causal, LanguageModel, Masked

_ROWS = 1024  # written at a time


def write(model: LanguageModel, rows: int, length: int, rng: np.random.Generator) -> Tensor:
    """Return windows drawn from a model, int64 (rows, length); known tokens only.

    A causal model's from left to right: exact draws of its distribution. A masked one's in an order drawn anew for
    every 1,024 rows, each token given those written so far, the others hidden: its own conditionals belong to no one
    distribution (Wang & Cho 2019, arXiv 1902.04094), and neither do these draws.

    Args:
        model: With its weights.
        rows: How many.
        length: Tokens a window.
        rng: The same state gives the same windows.
    """
    sizes = [min(_ROWS, rows - i) for i in range(0, rows, _ROWS)]
    with torch.no_grad():
        if isinstance(model, Causal):
            parts = [_causal(model, size, length, rng) for size in sizes]
        else:
            parts = [_masked(model, size, length, rng) for size in sizes]
    return torch.cat(parts) if parts else torch.zeros((0, length), dtype=torch.int64)


def _causal(model: Causal, rows: int, length: int, rng: np.random.Generator) -> Tensor:
    logits, state = model.begin(rows)
    written = torch.empty((rows, length), dtype=torch.int64)
    for t in range(length):
        written[:, t] = _drawn(logits, rng)
        if t + 1 < length:
            logits, state = model.step(written[:, t], state)
    return written


def _masked(model: Masked, rows: int, length: int, rng: np.random.Generator) -> Tensor:
    hidden = torch.ones((rows, length), dtype=torch.bool)
    written = torch.zeros((rows, length), dtype=torch.int64)
    for t in rng.permutation(length):
        written[:, t] = _drawn(model(written, hidden)[:, t], rng)
        hidden[:, t] = False
    return written


def _drawn(logits: Tensor, rng: np.random.Generator) -> Tensor:
    """Return a token a row, (rows,), drawn from softmax(logits), (rows, V)."""
    below = logits.double().softmax(1).cumsum(1)
    drawn = torch.from_numpy(rng.random(len(logits)))[:, None] * below[:, -1:]
    return (below <= drawn).sum(1).clamp(max=logits.shape[1] - 1)
