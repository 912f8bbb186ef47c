"""One plain training loop for every language model, which shows it at chosen epochs without stopping."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedgenome.errors import require
from fedgenome.models.language.base import Causal, loss
from fedgenome.models.language.sizes import Model
from fedgenome.query import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Where a run stands. The model itself is as it was left: whoever audits it does so before asking for more.

    Attributes:
        epoch: Epochs done; 0 before the first.
        steps: Steps done.
        loss: Mean of the last epoch's losses, nats a token, as they were met; NaN before the first.
    """

    epoch: int
    steps: int
    loss: float


def train(
    model: Model,
    tokens: Tensor,
    *,
    epochs: Collection[int],
    batch: int,
    rate: float,
    rng: np.random.Generator,
    repeats: Array | None = None,
    hidden: float | None = None,
) -> Iterator[Checkpoint]:
    """Train ``model`` in place by Adam, and yield after each of ``epochs``, the last of which ends the run.

    What is audited between two epochs changes nothing: a run shown ten times ends with the weights of one shown once.

    Args:
        model: With its first weights.
        tokens: (rows, length) int64.
        epochs: When to yield; 0 is before the first step.
        batch: Rows a step; an epoch's last step takes what is left.
        rate: Adam's learning rate.
        rng: Draws the order of rows, and what is hidden.
        repeats: How often each row is in the training set, (rows,) of at least 0, without copies of it; once if None.
        hidden: Chance of each position to be hidden at each step: of masked models, and of them alone.

    Raises:
        SpecError: Sizes that train nothing, or ``hidden`` where it does not belong.
    """
    causal = isinstance(model, Causal)
    require(tokens.dim() == 2 and tokens.numel() > 0, "tokens of (rows, length)", shape=tuple(tokens.shape))
    require(bool(epochs) and min(epochs) >= 0, "epochs of at least 0", epochs=epochs)
    require(batch >= 1 and 0 < rate < 1, "batch >= 1, 0 < rate < 1", batch=batch, rate=rate)
    require((hidden is None) == causal, "hidden for masked models alone", hidden=hidden)
    require(hidden is None or 0 < hidden < 1, "0 < hidden < 1", hidden=hidden)
    times = np.ones(len(tokens), np.int64) if repeats is None else repeats
    fits = times.shape == (len(tokens),) and bool((times >= 0).all())
    require(fits, "one repeat of at least 0 a row", rows=len(tokens), shape=times.shape)
    rows = np.repeat(np.arange(len(tokens)), times)
    require(len(rows) > 0, "a row that is repeated at least once", rows=len(tokens))
    return _train(model, tokens, rows, epochs=epochs, batch=batch, rate=rate, rng=rng, hidden=hidden)


def _train(
    model: Model,
    tokens: Tensor,
    rows: Array,
    *,
    epochs: Collection[int],
    batch: int,
    rate: float,
    rng: np.random.Generator,
    hidden: float | None,
) -> Iterator[Checkpoint]:
    optimiser = torch.optim.Adam(model.parameters(), lr=rate, fused=True)
    steps = 0
    if 0 in epochs:
        yield Checkpoint(epoch=0, steps=0, loss=float("nan"))
    for epoch in range(1, max(epochs) + 1):
        total = torch.zeros((), dtype=torch.float64)
        for index in torch.split(torch.from_numpy(rng.permutation(rows)), batch):
            found = loss(model, _inputs(tokens[index], rng, hidden))
            optimiser.zero_grad()
            found.mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += found.detach().sum()
            steps += 1
        if epoch in epochs:
            yield Checkpoint(epoch=epoch, steps=steps, loss=float(total) / len(rows))


def _inputs(tokens: Tensor, rng: np.random.Generator, hidden: float | None) -> tuple[Tensor, ...]:
    if hidden is None:
        return (tokens,)
    return tokens, torch.from_numpy(rng.random(tuple(tokens.shape), dtype=np.float32) < hidden)
