"""A CVAE as it is trained without privacy: epochs of shuffled batches on rows scaled by their own mean and deviation.

It and its shadows are trained by :mod:`fedgenome.audit.shadows.autoencoders`, one recipe for all.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from fedgenome.audit.shadows import autoencoders
from fedgenome.audit.shadows.autoencoders import Autoencoders
from fedgenome.audit.shadows.recipe import Recipe
from fedgenome.audit.targets import Records
from fedgenome.models import cvae, parameters
from fedgenome.query import Array
from fedgenome.study import Schema

_WIDTH = 3.0  # deviations of a gene on either side of its mean that fill [0, 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Which CVAE, and how long it is trained.

    Attributes:
        epochs: Passes over the rows.
        variance: Of a gene given the latent, where genes fill [0, 1].
    """

    hidden: int
    epochs: int
    latent: int = 32
    batch: int = 64
    rate: float = 2e-3
    variance: float = 0.005

    def recipe(self, rows: int) -> Recipe:
        """Return the recipe on so many rows."""
        return Recipe(steps=self.epochs * -(-rows // self.batch), batch=self.batch, rate=self.rate, scale="none")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """CVAEs of one shape, trained each on rows of its own.

    Attributes:
        models: In chunks.
        centre: Mean of each gene in the training rows of the first, (genes,).
        scale: Deviation.
        shares: Share of each label in them.
        schema: Public facts.
    """

    models: Sequence[Autoencoders]
    centre: Array
    scale: Array
    shares: Array
    schema: Schema

    def losses(self, rows: Records) -> Array:
        """Return every model's loss of every row at its latent's mean, (models, rows)."""
        x, onehot = self._unit(rows.x), np.eye(len(self.shares))[rows.label]
        draws = np.zeros((len(x), self.models[0].model.latent))
        return np.concatenate([each.losses(x, onehot, draws) for each in self.models])

    def draw(self, rows: int, rng: np.random.Generator) -> Records:
        """Return rows of the first model: what its decoder gives for latents from the prior, without noise."""
        model = self.models[0].model
        label = np.sort(rng.choice(len(self.shares), rows, p=self.shares))
        z = torch.from_numpy(rng.standard_normal((rows, model.latent), np.float32))
        onehot = functional.one_hot(torch.from_numpy(label), len(self.shares)).float()
        with torch.no_grad():
            unit = model.decode(z[None], onehot[None])[0].numpy()
        x = self.centre + self.scale * _WIDTH * (2 * unit - 1)
        return Records(x=x.clip(self.schema.low, self.schema.high).astype(np.float32), label=label)

    def _unit(self, x: Array) -> Array:
        return _unit(x, self.centre, self.scale)


def train(rows: Records, inside: Array, schema: Schema, shape: Shape, rng: np.random.Generator) -> Trained:
    """Return CVAEs trained on the rows that ``inside`` (models, rows) gives each; all scale as the first."""
    own = rows.x[inside[0]].astype(np.float64)
    centre, scale = own.mean(0), np.maximum(own.std(0), 1e-3 * (schema.high - schema.low))
    labels = len(schema.labels)
    make = functools.partial(_first, len(centre), labels, shape)
    recipe = shape.recipe(int(inside.sum(1).mean()))
    models = autoencoders.train(_unit(rows.x, centre, scale), np.eye(labels)[rows.label], inside, make, recipe, rng)
    shares = np.bincount(rows.label[inside[0]], minlength=labels) / inside[0].sum()
    return Trained(models=models, centre=centre, scale=scale, shares=shares, schema=schema)


def _unit(x: Array, centre: Array, scale: Array) -> Array:
    return np.clip((x - centre) / (2 * _WIDTH * scale) + 0.5, 0, 1)


def _first(genes: int, labels: int, shape: Shape, rng: np.random.Generator) -> cvae.CVAE:
    model = cvae.CVAE(genes, labels, shape.hidden, shape.latent, variance=shape.variance)
    parameters.initialise(model, rng)
    return model
