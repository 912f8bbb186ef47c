"""Small language models and what they read."""

import numpy as np
import torch

from fedgenome.models.language.sizes import Options, build
from fedgenome.models.parameters import initialise

LENGTH = 20


def drawn(architecture, width=16, layers=2, seed=3, length=LENGTH):
    """Return a model of ``architecture`` with seeded weights."""
    made = build(Options(architecture=architecture, width=width, layers=layers), 4, length)
    initialise(made, np.random.default_rng(seed))
    return made


def strings(rows, length=LENGTH, seed=0, codes=4):
    """Return random tokens, (rows, length)."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, codes, (rows, length)))


def holes(tokens, seed=1):
    """Return what is hidden of ``tokens``: some positions of each row."""
    hidden = torch.from_numpy(np.random.default_rng(seed).random(tuple(tokens.shape)) < 0.3)
    hidden[:, 3] = True
    return hidden
