"""Encoder of self-attention blocks that fills in hidden tokens (Devlin et al. 2019), normalised before each."""

from __future__ import annotations

from torch import Tensor

from fedgenome.models.language.attention import Stack


class Encoder(Stack):
    """A masked model of at most ``length`` tokens."""

    def forward(self, tokens: Tensor, hidden: Tensor) -> Tensor:
        """Return logits (rows, length, V).

        Raises:
            SpecError: ``tokens`` are longer than the model.
        """
        return self.logits(tokens.masked_fill(hidden, self.vocabulary + 1), causal=False)
