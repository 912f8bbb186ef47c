"""What an imputation panel says of a sequence: a mosaic of other people's haplotypes, with a rate of errors.

The baseline of everything that a model of people says: what can be guessed from others is no memory of this person.
Without errors it is the law of :func:`fedgenome.audit.language.canaries.mosaic`.

Source: Li & Stephens 2003, "Modeling Linkage Disequilibrium and Identifying Recombination Hotspots".
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from fedgenome.audit.language.steps import as_tensor, walked
from fedgenome.errors import require
from fedgenome.models.language.base import State
from fedgenome.query import Array

SWITCH, ERROR = 0.01, 1e-3


class Copying(nn.Module):
    """A causal model of windows of one start, in float64: exact, by the forward recursion over who is copied.

    Each token is that of the haplotype that is being copied, but with chance ``error`` any of the V alike; before
    each token but the first, with chance ``switch``, another haplotype is drawn from all. What is unknown, in a row
    or in the panel, tells nothing. Rows that are stepped together stand at one position.

    Args:
        panel: Aligned windows, int (haplotypes, window).
        vocabulary: V.
        switch: ρ.
        error: μ; at 0 what no mosaic has is impossible.
    """

    emitted: Tensor
    prior: Tensor

    def __init__(self, panel: Array, vocabulary: int, switch: float = SWITCH, error: float = ERROR) -> None:
        super().__init__()
        require(0 <= switch <= 1 and 0 <= error <= 1, "0 <= switch <= 1 and 0 <= error <= 1")
        require(panel.ndim == 2 and len(panel) >= 1, "a haplotype to copy from", shape=panel.shape)
        self.vocabulary, self.switch = vocabulary, switch
        codes = as_tensor(panel.T)
        copied = (codes[..., None] == torch.arange(vocabulary)).double()
        copied[codes >= vocabulary] = 1 / vocabulary
        self.register_buffer("emitted", (1 - error) * copied + error / vocabulary)  # (window, haplotypes, V)
        self.register_buffer("prior", torch.full((len(panel),), 1 / len(panel), dtype=torch.float64))

    def without(self, left_out: Array) -> Copying:
        """Return the model that copies from nobody of ``left_out``, bool (haplotypes,)."""
        kept = torch.from_numpy(~left_out).double()
        require(bool(kept.any()), "a panel of other people")
        other = copy.copy(self)
        other._buffers = {**self._buffers, "prior": kept / kept.sum()}  # the panel itself is shared
        return other

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (rows, length, V), which are log-probabilities."""
        return walked(self, tokens)

    def begin(self, rows: int) -> tuple[Tensor, State]:
        """Return the logits of the first token, and who is being copied: weights (rows, haplotypes), and position."""
        weights = self.prior.expand(rows, -1)
        return self._said(weights, 0), (weights, torch.zeros(rows, dtype=torch.int64))

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of what follows ``tokens`` (rows,), and who is being copied there.

        Raises:
            SpecError: The panel has no position left.
        """
        weights, position = state
        at = int(position[0]) if len(position) else 0
        known = tokens < self.vocabulary
        likely = self.emitted[at].T[tokens.where(known, 0)]
        weights = weights * likely.where(known[:, None], 1.0)
        total = weights.sum(1, keepdim=True)
        # After an impossible token, whose log-probability is −∞ already, anybody may be copied.
        weights = torch.where(total > 0, weights / total, self.prior)
        weights = (1 - self.switch) * weights + self.switch * self.prior
        return self._said(weights, at + 1), (weights, position + 1)

    def _said(self, weights: Tensor, at: int) -> Tensor:
        require(at < len(self.emitted), "rows no longer than the panel", length=at + 1, panel=len(self.emitted))
        return (weights @ self.emitted[at]).log()
