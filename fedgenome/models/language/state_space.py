"""State-space language model: gated blocks over diagonal states that decay and turn, in the manner of S4D-Lin.

A state s of a block follows s_t = λ s_{t−1} + u_t, where u is a Linear layer of the input (B) and what is read off is a
Linear layer of the real and imaginary parts (C) and of the input (D). As in S4D-Lin (Gu et al. 2022, §4.3),
λ = exp(Δ (−1/2 + iπn)), n = 0 … 15, for steps Δ from 1/16 down to 1/(16 · 16) in equal ratios; but λ is public and
fixed, so that every trained number sits in a Linear layer, whose clipping has a closed form. Over a whole sequence
states are a convolution with powers of λ, by FFT; one token at a time they are the recurrence itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.errors import require
from fedgenome.models.language.attention import norm
from fedgenome.models.language.base import State
from fedgenome.models.language.reading import embedding, shifted, starts
from fedgenome.models.parameters import linear

_TURNS = 16  # states of one step Δ


class Block(nn.Module):
    """(rows, length, width) to the same: x + out(gelu(C s + D h) ∘ σ(gate h)), h = norm(x).

    Args:
        width: Features of a position, and states: a multiple of 16.
    """

    decay: Tensor
    turn: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        require(width % _TURNS == 0, f"a width that is a multiple of {_TURNS}", width=width)
        groups = width // _TURNS
        delta = _TURNS ** -(1 + torch.arange(groups) / max(groups - 1, 1))
        # Not in the state dict: they are no weights, and the same for every model of a width.
        self.register_buffer("decay", (delta / 2).repeat_interleave(_TURNS), persistent=False)
        self.register_buffer("turn", (math.pi * delta[:, None] * torch.arange(_TURNS)).flatten(), persistent=False)
        self.norm = norm(width)
        self.enter = linear(width, width)
        self.read_out = linear(2 * width, width)
        self.skip = linear(width, width, bias=False)
        self.gate = linear(width, width)
        self.out = linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return what becomes of all positions."""
        h = self.norm(x)
        length = x.shape[1]
        spectrum = torch.fft.rfft(self.enter(h), 2 * length, dim=1)  # twice as long, so that nothing wraps
        powers = self._powers(length)
        kernels = [torch.fft.rfft(part, 2 * length, dim=0) for part in (powers.real, powers.imag)]
        parts = [torch.fft.irfft(spectrum * kernel, 2 * length, dim=1)[:, :length] for kernel in kernels]
        return self._mixed(x, h, torch.cat(parts, 2))

    def step(self, x: Tensor, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what becomes of one more position (rows, width), and the states after it, (rows, width) each."""
        h = self.norm(x)
        once = self._powers(2)[1]
        real, imaginary = (
            real * once.real - imaginary * once.imag + self.enter(h),
            real * once.imag + imaginary * once.real,
        )
        return self._mixed(x, h, torch.cat([real, imaginary], 1)), real, imaginary

    def _powers(self, length: int) -> Tensor:
        """Return λ to the powers 0 … length − 1, complex (length, states)."""
        t = torch.arange(length)[:, None]
        return torch.polar(torch.exp(-self.decay * t), self.turn * t)

    def _mixed(self, x: Tensor, h: Tensor, states: Tensor) -> Tensor:
        mixed: Tensor = self.out(functional.gelu(self.read_out(states) + self.skip(h)) * self.gate(h).sigmoid())
        return x + mixed


class StateSpace(nn.Module):
    """A causal model of any length, whose state does not grow. Weights are zero until drawn or loaded.

    Args:
        vocabulary: V.
        width: Features of a position, and states of a block: a multiple of 16.
        layers: Blocks.
    """

    def __init__(self, vocabulary: int, width: int, layers: int) -> None:
        super().__init__()
        require(layers >= 1, "layers >= 1", layers=layers)
        self.vocabulary = vocabulary
        self.read = embedding(vocabulary, width)
        self.layers = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = norm(width)
        self.predict = linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (rows, length, V)."""
        x = self.read(shifted(tokens, self.vocabulary))
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.predict(self.norm(x))
        return logits

    def begin(self, rows: int) -> tuple[Tensor, State]:
        """Return the logits of the first token and the state before it: real and imaginary parts of each block's."""
        nothing = torch.zeros(rows, self.read.embedding_dim)
        return self.step(starts(rows, self.vocabulary), (nothing,) * (2 * len(self.layers)))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of what follows ``tokens`` and the state after them."""
        x, after = self.read(tokens), list[Tensor]()
        for layer, real, imaginary in zip(cast("Iterable[Block]", self.layers), state[::2], state[1::2], strict=True):
            x, *more = layer.step(x, real, imaginary)
            after += more
        return self.predict(self.norm(x)), tuple(after)
