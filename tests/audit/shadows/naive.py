"""A model at a time, a row at a time: what training together is compared with."""

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedgenome.audit.shadows.batches import batches
from fedgenome.audit.shadows.perceptrons import start

_LAYERS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def as_module(models, k):
    """Return model k as torch's own layers."""
    widths = [models.weights[0].shape[2], *(w.shape[1] for w in models.weights)]
    layers = [nn.utils.skip_init(nn.Linear, *pair) for pair in pairwise(widths)]
    for layer, weight, bias in zip(layers, models.weights, models.biases, strict=True):
        layer.weight.data, layer.bias.data = weight[k].clone(), bias[k, 0].clone()
    bend = _LAYERS[models.activation]
    return nn.Sequential(*[part for layer in layers for part in (layer, bend())][:-1])


def one_by_one(x, label, own, recipe, rng, classes):
    """Return the logits on all rows of one model, trained by torch's tape and plain optimiser, a row at a time."""
    rows = np.flatnonzero(own)
    if recipe.scale == "own":
        spread = x[rows].std(0)
        x = (x - x[rows].mean(0)) / np.where(np.ptp(x[rows], axis=0) == 0, 1, spread)
    x, label = torch.tensor(x, dtype=torch.float32), torch.tensor(label)
    model = as_module(start((x.shape[1], *recipe.hidden, classes), recipe.activation, [rng]), 0)
    rng.integers(2**63)  # the noise's
    kind = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.SGD
    more = {"momentum": recipe.momentum} if recipe.optimiser == "sgd" else {}
    optimiser = kind(model.parameters(), lr=recipe.rate, weight_decay=recipe.decay, foreach=False, **more)
    for index, weight in batches([rows], recipe, [rng]):
        drawn = index[0][weight[0] > 0]
        optimiser.zero_grad()
        total = [torch.zeros_like(p) for p in model.parameters()]
        for i in drawn:
            gradient = torch.autograd.grad(functional.cross_entropy(model(x[[i]]), label[[i]]), model.parameters())
            norm = float(torch.cat([g.flatten() for g in gradient]).norm())
            factor = min(1.0, recipe.clip / norm) if recipe.clip else 1.0
            total = [t + factor * g for t, g in zip(total, gradient, strict=True)]
        for parameter, t in zip(model.parameters(), total, strict=True):
            parameter.grad = t / recipe.batch
        optimiser.step()
    return model(x).detach().numpy()
