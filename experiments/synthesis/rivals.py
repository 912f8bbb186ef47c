"""Generators of others that fedgenome is compared with, without privacy: each fits training rows and draws a table.

A Gaussian copula is ten lines over SciPy and scikit-learn; CTGAN is the package ``ctgan`` (the ``bench`` extra); the
CVAE is the model class of the library's own DP-CVAE, trained plainly. GANs with a gradient penalty are in ``gan``.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy import special, stats
from sklearn.covariance import ledoit_wolf
from torch.nn import functional

from experiments.synthesis.loop import Facts
from fedgenome.audit.targets import Records
from fedgenome.models import cvae, parameters
from fedgenome.query import Array

Rival = Callable[[Records, Facts, np.random.Generator], Records]

_HIDDEN, _LATENT = 128, 16
_EPOCHS, _BATCH, _RATE = 300, 128, 1e-3
CTGAN_EPOCHS = 300  # its own default


def mvn(rows: Records, facts: Facts, rng: np.random.Generator) -> Records:
    """Class-conditional Gaussian with a full covariance, shrunk as Ledoit and Wolf (2004) say."""

    def one(x: Array, n: int) -> Array:
        return np.asarray(x.mean(0) + _normals(x - x.mean(0), n, rng))

    return _by_class(rows, facts, rng, one)


def copula(rows: Records, facts: Facts, rng: np.random.Generator) -> Records:
    """Class-conditional Gaussian copula: normal scores of ranks with a shrunk covariance, the class's own quantiles."""

    def one(x: Array, n: int) -> Array:
        scores = special.ndtri(stats.rankdata(x, axis=0) / (len(x) + 1))
        u = special.ndtr(_normals(scores, n, rng) / np.maximum(scores.std(0), 1e-9))
        steps = (np.arange(len(x)) + 0.5) / len(x)
        return np.stack([np.interp(v, steps, np.sort(gene)) for v, gene in zip(u.T, x.T, strict=True)], axis=1)

    return _by_class(rows, facts, rng, one)


def plain_cvae(rows: Records, facts: Facts, rng: np.random.Generator) -> Records:
    """Conditional VAE of the library's model class, trained by Adam on minibatches, nothing clipped or noised."""
    labels, low, span = len(facts.schema.labels), facts.schema.low, facts.schema.high - facts.schema.low
    centre, scale = rows.x.mean(0), 3 * np.maximum(rows.x.std(0), 1e-3)
    model = cvae.CVAE(rows.x.shape[1], labels, _HIDDEN, _LATENT, variance=0.05)
    parameters.initialise(model, rng)
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    x = torch.from_numpy(((rows.x - centre) / scale).astype(np.float32))
    hot = functional.one_hot(torch.from_numpy(rows.label), labels).float()
    for _ in range(_EPOCHS):
        for at in np.array_split(rng.permutation(len(x)), max(1, len(x) // _BATCH)):
            draws = torch.from_numpy(rng.standard_normal((len(at), _LATENT), np.float32))
            optimiser.zero_grad()
            cvae.loss(model, (x[at], hot[at], draws)).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    label = _labels(rows, facts, rng)
    with torch.no_grad():
        draws = torch.from_numpy(rng.standard_normal((len(x), _LATENT), np.float32))
        left = (model(x, hot, draws)[0] - x).numpy().std(0)  # what a gene varies by beyond the latent
        z = torch.from_numpy(rng.standard_normal((len(label), _LATENT), np.float32))
        made = model.decode(z, functional.one_hot(torch.from_numpy(label), labels).float()).numpy()
    made = made + left * rng.standard_normal(made.shape)
    return Records(x=np.clip(centre + scale * made, low, low + span).astype(np.float32), label=label)


def has_ctgan() -> bool:
    """Return whether the package ``ctgan`` is installed."""
    return importlib.util.find_spec("ctgan") is not None


def ctgan(rows: Records, facts: Facts, rng: np.random.Generator) -> Records:
    """CTGAN (Xu et al. 2019) as its package has it, the label as a discrete column."""
    pandas: Any = importlib.import_module("pandas")
    joblib: Any = importlib.import_module("joblib")
    # Its worker processes, one task a column, take longer than the columns.
    with warnings.catch_warnings(), joblib.parallel_config(backend="sequential"):
        warnings.simplefilter("ignore")  # a mixture that did not converge, and its own deprecations
        made: Any = importlib.import_module("ctgan").CTGAN(epochs=CTGAN_EPOCHS, verbose=False, enable_gpu=False)
        made.set_random_state(int(rng.integers(2**31)))
        frame = pandas.DataFrame(rows.x, columns=[str(i) for i in range(rows.x.shape[1])])
        made.fit(frame.assign(label=rows.label.astype(str)), ["label"])
        told = made.sample(facts.rows)
    x = told.drop(columns="label").to_numpy(np.float32)
    return Records(x=np.clip(x, facts.schema.low, facts.schema.high), label=told["label"].astype(np.int64).to_numpy())


def _labels(rows: Records, facts: Facts, rng: np.random.Generator) -> Array:
    counts = np.bincount(rows.label, minlength=len(facts.schema.labels))
    return np.sort(rng.choice(len(counts), facts.rows, p=counts / counts.sum()))


def _by_class(rows: Records, facts: Facts, rng: np.random.Generator, one: Callable[[Array, int], Array]) -> Records:
    """Return rows of ``one(rows of a class, how many)`` for labels drawn by their shares."""
    label = _labels(rows, facts, rng)
    x = np.zeros((len(label), rows.x.shape[1]), np.float32)
    for each in np.unique(label):
        here = np.flatnonzero(label == each)
        x[here] = one(rows.x[rows.label == each].astype(np.float64), len(here))
    return Records(x=np.clip(x, facts.schema.low, facts.schema.high), label=label)


def _normals(centred: Array, n: int, rng: np.random.Generator) -> Array:
    """Return n normal rows with the shrunk covariance of ``centred`` rows, drawn without its root.

    Ledoit and Wolf's estimate is (1 − a)·S + a·m·I: a draw is a mix of the rows themselves, and noise.
    """
    if len(centred) < 2:
        return np.zeros((n, centred.shape[1]))
    covariance, shrinkage = ledoit_wolf(centred, assume_centered=True)
    spread = np.trace(covariance) / len(covariance)
    mixed = rng.standard_normal((n, len(centred))) @ centred * np.sqrt((1 - shrinkage) / len(centred))
    return np.asarray(mixed + np.sqrt(shrinkage * spread) * rng.standard_normal(mixed.shape))


RIVALS: dict[str, Rival] = {
    "class MVN": mvn,
    "Gaussian copula": copula,
    "CVAE": plain_cvae,
    "CTGAN": ctgan,
}
