"""Conditional variational autoencoder of expression, with one loss a row (Sohn et al. 2015).

Without normalisation over rows, so that a row's loss depends on that row alone; every parameter sits
in a Linear layer, for which per-donor clipping has a closed form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedgenome.errors import require
from fedgenome.models.parameters import linear

Inputs = tuple[Tensor, Tensor, Tensor]  # x (rows, genes) in [0, 1], onehot (rows, labels), draws (rows, latent)

_LOG_VARIANCE = 6.0  # the encoder's log-variance stays within ±6: no weights, however noisy, overflow it


class CVAE(nn.Module):
    """Encoder (x, label) → latent and decoder (latent, label) → x, one hidden layer each.

    Weights are zero until :mod:`fedgenome.models.parameters` draws or loads them: torch's global generator is not used.
    About 1e5 parameters at genes=200, labels=10, hidden=224, latent=8.

    Args:
        genes: Width of x.
        labels: Number of classes.
        hidden: Width of the hidden layers.
        latent: Width of the latent space.
        variance: Variance of a gene given the latent, public; sets reconstruction against KL.
        beta: Weight of the KL term.
    """

    def __init__(
        self, genes: int, labels: int, hidden: int, latent: int, *, variance: float = 0.02, beta: float = 1.0
    ) -> None:
        super().__init__()
        sizes = {"genes": genes, "labels": labels, "hidden": hidden, "latent": latent}
        require(min(sizes.values()) >= 1, "genes, labels, hidden, latent >= 1", **sizes)
        require(0 < variance < math.inf, "0 < variance < inf", variance=variance)
        require(0 <= beta < math.inf, "0 <= beta < inf", beta=beta)
        self.latent = latent
        self.variance = variance
        self.beta = beta
        self.encode_hidden = linear(genes + labels, hidden)
        self.encode_latent = linear(hidden, 2 * latent)
        self.decode_hidden = linear(latent + labels, hidden)
        self.decode_genes = linear(hidden, genes)

    def encode(self, x: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latent, (rows, latent) each."""
        hidden = functional.silu(self.encode_hidden(torch.cat([x, onehot], dim=-1)))
        mean, raw = self.encode_latent(hidden).chunk(2, dim=-1)
        return mean, _LOG_VARIANCE * torch.tanh(raw / _LOG_VARIANCE)

    def decode(self, z: Tensor, onehot: Tensor) -> Tensor:
        """Return the mean of x, (rows, genes), for latents (rows, latent); not confined to [0, 1]."""
        hidden = functional.silu(self.decode_hidden(torch.cat([z, onehot], dim=-1)))
        genes: Tensor = self.decode_genes(hidden)
        return genes

    def forward(self, x: Tensor, onehot: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x reconstructed from one latent a row, and the latent's mean and log-variance."""
        mean, log_variance = self.encode(x, onehot)
        return self.decode(mean + draws * torch.exp(log_variance / 2), onehot), mean, log_variance


def loss(model: CVAE, inputs: tuple[Tensor, ...]) -> Tensor:
    """Return the negative evidence bound of each row (constants left out), (rows,).

    Args:
        model: The autoencoder.
        inputs: x (rows, genes), scaled from the public range to [0, 1]; onehot (rows, labels);
            draws (rows, latent), standard normals.
    """
    x, onehot, draws = inputs
    rebuilt, mean, log_variance = model(x, onehot, draws)
    squares = (rebuilt - x).square().sum(-1) / (2 * model.variance)
    divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2
    total: Tensor = squares + model.beta * divergence
    return total
