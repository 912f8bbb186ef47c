"""Networks that learn who a record is of: two records into one space, near each other if they are of one person.

A trained one is a weapon of re-identification: no release holds any.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from fedgenome.models.parameters import blank, linear

Kind = Literal["convolutions", "lstm"]
SHARPNESS = 10.0  # of cosines in a loss
_CHANNELS = 2  # of a variant: its value, and whether it is told
_WIDTH, _SPACE = 16, 64
_WORDS = 32  # that the LSTM reads at most: variants come in words


class Convolutions(nn.Module):
    """Two convolutions along the list, each halving it, and a linear layer that knows places."""

    def __init__(self, variants: int) -> None:
        super().__init__()
        self.first = blank(nn.Conv1d(_CHANNELS, _WIDTH, 5, stride=2, padding=2, device="meta"))
        self.second = blank(nn.Conv1d(_WIDTH, _WIDTH, 5, stride=2, padding=2, device="meta"))
        self.place = linear(_WIDTH * -(-variants // 4), _SPACE)

    def forward(self, x: Tensor) -> Tensor:
        """Return places (rows, 64) of records (rows, 2, variants)."""
        x = self.second(self.first(x).relu()).relu()
        placed: Tensor = self.place(x.flatten(1))
        return placed


class Recurrent(nn.Module):
    """An LSTM that reads the list word by word."""

    def __init__(self, variants: int) -> None:
        super().__init__()
        self.word = -(-variants // _WORDS)
        self.read = blank(nn.LSTM(_CHANNELS * self.word, _SPACE, batch_first=True, device="meta"))
        self.place = linear(_SPACE, _SPACE)

    def forward(self, x: Tensor) -> Tensor:
        """Return places (rows, 64) of records (rows, 2, variants)."""
        words = nn.functional.pad(x, (0, -x.shape[2] % self.word)).unfold(2, self.word, self.word)
        read = self.read(words.transpose(1, 2).flatten(2))[0][:, -1]
        placed: Tensor = self.place(read)
        return placed


def network(kind: Kind, variants: int) -> nn.Module:
    """Return a network of zeros for records of so many variants."""
    return (Convolutions if kind == "convolutions" else Recurrent)(variants)


def placed(network: nn.Module, values: Tensor, told: Tensor) -> Tensor:
    """Return where records lie, of length 1, (rows, 64); ``values`` and ``told`` are (rows, variants)."""
    return nn.functional.normalize(network(torch.stack([values, told], dim=1)))
