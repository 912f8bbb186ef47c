"""Walking a causal model: the state after tokens, and states of rows that are picked."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedgenome.models.language.base import Causal, State
from fedgenome.query import Array


def as_tensor(tokens: Array) -> Tensor:
    """Return tokens as torch has them, int64."""
    return torch.from_numpy(np.ascontiguousarray(tokens, np.int64))


def after(model: Causal, prefix: Array) -> tuple[Tensor, State]:
    """Return the logits of what follows each prefix, (rows, V), and the state there.

    Args:
        model: The model.
        prefix: int (rows, tokens); none: the start.
    """
    logits, state = model.begin(len(prefix))
    for tokens in as_tensor(prefix.T):
        logits, state = model.step(tokens, state)
    return logits, state


def picked(state: State, rows: Tensor) -> State:
    """Return the states of ``rows`` (indices), in their order; a row may come several times."""
    return tuple(part[rows] for part in state)


def walked(model: Causal, tokens: Tensor) -> Tensor:
    """Return logits (rows, length, V) of a model that is its steps: what ``forward`` is of one that has no faster."""
    logits, state = model.begin(len(tokens))
    every = [logits]
    for before in tokens.T[:-1]:
        logits, state = model.step(before, state)
        every.append(logits)
    return torch.stack(every[: tokens.shape[1]] or [logits[:, :0]], 1)
