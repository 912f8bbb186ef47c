"""What every language model of tokens offers: to those that train it, and to those that audit it.

Tokens are codes, int64 (rows, length): 0 … V−1 are known, V stands for anything else. What a model predicts is one of
the V known ones, so that the probabilities of all strings of a length sum to 1; an unknown token is read, but never
predicted. Rows do not meet: what a model says of one depends on that row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

State = tuple[Tensor, ...]  # rows first in every tensor: rows are picked and repeated by indexing each

_ROWS = 256  # rows whose logits are held at a time


@runtime_checkable
class Causal(Protocol):
    """A model that reads from left to right."""

    vocabulary: int  # V
    __call__: Callable[..., Any]

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (rows, length, V): those at t are of token t, given the tokens before it."""

    def begin(self, rows: int) -> tuple[Tensor, State]:
        """Return the logits of the first token, (rows, V), and the state before it."""

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of what follows ``tokens`` (rows,), (rows, V), and the state after them."""


@runtime_checkable
class Masked(Protocol):
    """A model that reads both ways, and fills in what it is not shown."""

    vocabulary: int  # V
    __call__: Callable[..., Any]

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Return logits (rows, length, V): those at t are of token t, given what ``hidden`` (rows, length) leaves."""


LanguageModel = Causal | Masked


def log_probabilities(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Return the log-probability of each token, nats, (rows, length) float64; 0 where a token is unknown.

    A causal model's is given all tokens before it, a masked one's given all others, of which one at a time is hidden:
    a forward a position.

    Args:
        model: The model.
        tokens: (rows, length) int64.
    """
    one = _causal if isinstance(model, Causal) else _masked
    with torch.no_grad():
        parts = [one(model, rows) for rows in torch.split(tokens, _ROWS)]
    return torch.cat(parts) if parts else torch.zeros(tokens.shape, dtype=torch.float64)


def loss(model: LanguageModel, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return each row's mean negative log-likelihood, nats a token, (rows,); 0 for a row without a known token.

    The form that :func:`fedgenome.privacy.gradients.sum_gradients` asks for.

    Args:
        model: The model.
        inputs: (tokens,) of a causal model: over all known tokens. (tokens, hidden) of a masked one: over the known
            ones that are hidden.
    """
    targets = inputs[0] if len(inputs) == 1 else inputs[0].masked_fill(~inputs[1], model.vocabulary)
    logits = model(*inputs).flatten(0, 1)
    losses = functional.cross_entropy(logits, targets.flatten(), ignore_index=model.vocabulary, reduction="none")
    total: Tensor = losses.view(targets.shape).sum(1) / (targets < model.vocabulary).sum(1).clamp(min=1)
    return total


def _causal(model: LanguageModel, tokens: Tensor) -> Tensor:
    return _of(tokens, model(tokens))


def _masked(model: LanguageModel, tokens: Tensor) -> Tensor:
    columns = []
    for t in range(tokens.shape[1]):
        hidden = torch.zeros(tokens.shape, dtype=torch.bool)
        hidden[:, t] = True
        columns.append(_of(tokens[:, t : t + 1], model(tokens, hidden)[:, t : t + 1]))
    return torch.cat(columns, 1) if columns else torch.zeros(tokens.shape, dtype=torch.float64)


def _of(tokens: Tensor, logits: Tensor) -> Tensor:
    """Return the log-probability of each of ``tokens`` (rows, length), 0 of unknown ones."""
    logs = logits.double().log_softmax(2)
    known = tokens < logits.shape[2]
    return logs.gather(2, tokens.masked_fill(~known, 0)[..., None])[..., 0].masked_fill(~known, 0)
