"""Records read off gradient sums of a model's first layer, in closed form; and weights that make this easy.

A linear layer's gradient is Σ_i δ_i x_iᵀ over the donors of a sum, its bias's Σ_i δ_i. Of one donor any row over its
bias is the record itself, whatever the clipping (Phong et al. 2018). Of several each row over its bias is a mixture of
records with weights of its own: independent components part them (Kariyappa et al. 2023). Whoever chooses the weights
can have every hidden unit answer only to those beyond a threshold: neighbours' difference is whoever lies between
(Fowl et al. 2022).
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning

from fedgenome.models.cvae import CVAE
from fedgenome.models.parameters import flatten, load_flat
from fedgenome.query import Array

_SHARP = 1e4  # of crafted units: how fast they switch, per unit of the scaled projection


def first_layer(gradient: Array, model: CVAE) -> tuple[Array, Array]:
    """Return the genes' part of the first layer's gradient, (hidden, genes), and its bias's, (hidden,)."""
    hidden, inputs = model.encode_hidden.weight.shape
    genes = int(model.decode_genes.weight.shape[0])
    weight = gradient[: hidden * inputs].reshape(hidden, inputs)
    return weight[:, :genes], gradient[hidden * inputs : hidden * (inputs + 1)]


def honest(gradient: Array, model: CVAE, donors: int, middle: Array) -> Array:
    """Return reconstructions, as deviations from ``middle``, of a sum over so many donors, (reconstructions, genes)."""
    weight, bias = first_layer(gradient, model)
    if donors == 1:
        unit = np.argmax(np.abs(bias))
        return np.asarray(weight[unit] / bias[unit] - middle)[None]
    mixed = weight - bias[:, None] * middle
    parts = min(donors, len(mixed) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = FastICA(parts, whiten="unit-variance", max_iter=300, tol=1e-3, random_state=0).fit_transform(mixed.T)
    return np.asarray(found.T)


def crafted(start: Array, model: CVAE, public: Array, rng: np.random.Generator) -> Array:
    """Return weights under which hidden unit h answers to records whose projection is beyond the h-th threshold.

    Args:
        start: Weights as they were, (P,).
        model: Whose.
        public: Scaled records of others, (people, genes): thresholds are quantiles of their projections.
        rng: Draws the projection.
    """
    load_flat(model, start)
    hidden, inputs = model.encode_hidden.weight.shape
    direction = np.zeros(inputs)
    direction[: public.shape[1]] = rng.standard_normal(public.shape[1])
    seen = public @ direction[: public.shape[1]]
    scale = _SHARP / seen.std()
    thresholds = np.quantile(seen, (np.arange(hidden) + 0.5) / hidden)
    with torch.no_grad():
        model.encode_hidden.weight.copy_(torch.from_numpy(np.tile(scale * direction, (hidden, 1))))
        model.encode_hidden.bias.copy_(torch.from_numpy(-scale * thresholds))
        # Every unit passes back the same, and little goes on, so that nothing saturates.
        same = model.encode_latent.weight[:, :1] / scale
        model.encode_latent.weight.copy_(same.expand_as(model.encode_latent.weight))
    return flatten(model)


def between(gradient: Array, model: CVAE, middle: Array) -> Array:
    """Return what lies between neighbouring thresholds, and beyond the last, as deviations, (hidden, genes)."""
    weight, bias = first_layer(gradient, model)
    apart = np.vstack([weight[:-1] - weight[1:], weight[-1:]]), np.append(bias[:-1] - bias[1:], bias[-1])
    empty = np.abs(apart[1]) <= 1e-9 * np.abs(bias).max()
    return np.asarray(apart[0][~empty] / apart[1][~empty, None] - middle)


def likeness(found: Array, records: Array) -> Array:
    """Return for each record the largest |correlation| with a reconstruction, (records,)."""
    ours, theirs = (_unit(each) for each in (found, records))
    return np.asarray(np.abs(theirs @ ours.T).max(1))


def _unit(rows: Array) -> Array:
    about = rows - rows.mean(1, keepdims=True)
    return np.asarray(about / np.maximum(np.linalg.norm(about, axis=1, keepdims=True), 1e-300))
