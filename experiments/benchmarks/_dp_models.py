"""What ``dp_sgd`` trains: models of every kind, each with data and one loss a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.models import cvae, parameters

BASES = 6  # A, C, G, T, unknown, start


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model and one batch.

    Attributes:
        name: In rows and targets.
        model: A new one, with the same weights every time.
        loss: One loss a row of the inputs.
        inputs: The batch.
        slack: Most that ours may cost, over plain SGD.
        steps: Repetitions of a full run.
    """

    name: str
    model: Callable[[], nn.Module]
    loss: Callable[[Any, tuple[Tensor, ...]], Tensor]
    inputs: tuple[Tensor, ...]
    slack: float
    steps: int


class Attention(nn.Module):
    """A layer of a causal transformer, of Linear layers that every candidate knows."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.packed, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (rows, positions, width) for the same."""
        rows, length, width = x.shape
        packed = self.packed(self.before(x)).view(rows, length, 3, self.heads, width // self.heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        again: Tensor = x + self.down(functional.relu(self.up(self.between(x))))
        return again


class Transformer(nn.Module):
    """Four layers over bases, which say the next base."""

    def __init__(self, width: int = 128, heads: int = 4, inner: int = 512, layers: int = 4) -> None:
        super().__init__()
        self.bases = nn.Embedding(BASES, width)
        self.layers = nn.Sequential(*(Attention(width, heads, inner) for _ in range(layers)))
        self.next = nn.Linear(width, BASES)

    def forward(self, bases: Tensor) -> Tensor:
        """Return scores of the next base, (rows, positions, bases)."""
        scores: Tensor = self.next(self.layers(self.bases(bases)))
        return scores


class Recurrent(nn.Module):
    """An LSTM over bases, which says the next base.

    Args:
        lstm: Makes the layer, for candidates that need another than torch's.
    """

    def __init__(self, lstm: Callable[..., nn.Module] = nn.LSTM, width: int = 128) -> None:
        super().__init__()
        self.bases = nn.Embedding(BASES, 32)
        self.lstm = lstm(32, width, batch_first=True)
        self.next = nn.Linear(width, BASES)

    def forward(self, bases: Tensor) -> Tensor:
        """Return scores of the next base, (rows, positions, bases)."""
        scores: Tensor = self.next(self.lstm(self.bases(bases))[0])
        return scores


def next_base(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return each row's mean cross entropy, (rows,)."""
    (bases,) = inputs
    scores = model(bases)[:, :-1].transpose(1, 2)
    return functional.cross_entropy(scores, bases[:, 1:], reduction="none").mean(1)


def classes(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return each row's cross entropy, (rows,)."""
    return functional.cross_entropy(model(inputs[0]), inputs[1], reduction="none")


def convolutions() -> nn.Module:
    """Return three convolutions over four channels, and a class."""
    return nn.Sequential(
        *(nn.Conv1d(4, 64, 15, padding=7), nn.ReLU()),
        *(nn.Conv1d(64, 64, 7, padding=3), nn.ReLU()),
        *(nn.Conv1d(64, 64, 7, padding=3), nn.ReLU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 2)),
    )


def autoencoder() -> nn.Module:
    """Return a CVAE of 958 genes: 521,726 parameters."""
    model = cvae.CVAE(958, 10, 256, 32)
    parameters.initialise(model, np.random.default_rng(1))
    return model


def seeded(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """Return ``make`` with weights drawn anew from one seed; torch's own generator stays as it was."""

    def made() -> nn.Module:
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(1)
            return make()

    return made


def cases() -> list[Case]:
    """Return all models with their batches."""
    rng = torch.Generator().manual_seed(1)

    def cells(rows: int) -> tuple[Tensor, ...]:
        labels = functional.one_hot(torch.randint(0, 10, (rows,), generator=rng), 10).float()
        return torch.rand(rows, 958, generator=rng), labels, torch.randn(rows, 32, generator=rng)

    def bases(rows: int, length: int) -> tuple[Tensor, ...]:
        return (torch.randint(0, 4, (rows, length), generator=rng),)

    signal = torch.randn(64, 4, 256, generator=rng), torch.randint(0, 2, (64,), generator=rng)
    return [
        Case(name="CVAE, B = 64", model=autoencoder, loss=cvae.loss, inputs=cells(64), slack=1.5, steps=40),
        Case(name="CVAE, B = 256", model=autoencoder, loss=cvae.loss, inputs=cells(256), slack=1.3, steps=20),
        Case(name="CNN, B = 64", model=seeded(convolutions), loss=classes, inputs=signal, slack=1.5, steps=15),
        Case(name="LSTM, B = 64", model=seeded(Recurrent), loss=next_base, inputs=bases(64, 128), slack=1.8, steps=9),
        Case(
            name="transformer, B = 16",
            model=seeded(Transformer),
            loss=next_base,
            inputs=bases(16, 256),
            slack=1.25,
            steps=7,
        ),
    ]
