"""Attacks on a released model by its own loss (threat: released weights), and a model that must be caught.

Whoever holds weights can ask how well they fit a record. Models fit what they were trained on better than what they
were not; but some records are easy for every model. How hard one is, people say who are neither members nor controls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedgenome.audit.targets import Losses, Records, Target, required
from fedgenome.methods.moments import Model, surprise
from fedgenome.query import Array

_RULED = 500  # rows of the base that are measured with, at most
_FOLDS = 5  # parts of the base, each measured with the others
_PRIOR = 2.0  # rows of everybody's that a label's mean counts beside its own
_ALIKE = 0.2  # share of all genes' mean variance in a gene's, so that a gene that a small base shows flat is none
_RIDGE = 0.1  # of the mean variance, in every direction: what a small base does not show is not taken for impossible
_FEW, _MANY = 2, 64  # rows that a Gaussian is to know by heart
_OWN = 1e-3  # share of a gene's variance that is left to it


def model_loss(people: Records, target: Target, _base: Records) -> Array:
    """Score rows by minus the model's loss, float64 (rows,). Source: Yeom et al. 2018, the loss of any model."""
    return -required(target)(people)


def calibrated(people: Records, target: Target, base: Records) -> Array:
    """Score rows by how much better the model knows them than rows as hard as they are, float64 (rows,).

    How hard a row is: its distance from its label's mean in the base's shrunk covariance. How the model's loss rises
    with that: a line by least squares over the base's rows, each measured with the others; both as arsinh, which is a
    logarithm for large numbers and takes small ones as they are. Members and controls but the row itself play no part.
    """
    losses = required(target)
    rows = base.rows(np.arange(min(len(base), _RULED)))
    hard, loss = _out_of_fold(rows), np.arcsinh(losses(rows))
    about = hard - hard.mean()
    slope = float(about @ loss) / max(float(about @ about), 1e-12)
    expected = loss.mean() + slope * (_ruler(rows)(people) - hard.mean())
    return np.asarray(expected - np.arcsinh(losses(people)))


def _out_of_fold(rows: Records) -> Array:
    """Return how hard each row is by the measure of the donors in the other folds (rows,)."""
    fold = np.unique(rows.owner, return_inverse=True)[1] % _FOLDS
    out = np.empty(len(rows))
    for each in np.unique(fold):
        here = fold == each
        out[here] = _ruler(rows.rows(~here) if not here.all() else rows)(rows.rows(here))
    return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ruler:
    """Distance from a label's mean in a shrunk covariance: after scaling, ``kept`` of its square along each axis.

    Attributes:
        means: (labels, genes).
        middle: (genes,) of a label that is not among them.
        scale: (genes,).
        axes: (axes, genes).
        kept: (axes,) in (0, 1]; 1 off the axes.
    """

    means: Array
    middle: Array
    scale: Array
    axes: Array
    kept: Array

    def __call__(self, people: Records) -> Array:
        known = people.label < len(self.means)
        means = np.where(known[:, None], self.means[np.where(known, people.label, 0)], self.middle)
        z = (people.x - means) / self.scale
        along = z @ self.axes.T
        return np.asarray(np.arcsinh((z**2).sum(1) - along**2 @ (1 - self.kept)))


def _ruler(rows: Records) -> Callable[[Records], Array]:
    """Return how hard rows are, by their distance from others'; one number more or less for all of no matter."""
    x, middle = rows.x.astype(np.float64), rows.x.mean(0, dtype=np.float64)
    onehot = np.eye(int(rows.label.max()) + 1)[rows.label]
    means = (onehot.T @ x + _PRIOR * middle) / (onehot.sum(0)[:, None] + _PRIOR)
    apart = x - means[rows.label]
    variance = (apart**2).mean(0)
    scale = np.sqrt((1 - _ALIKE) * variance + _ALIKE * variance.mean() + 1e-9)
    _, lengths, axes = np.linalg.svd(apart / scale, full_matrices=False)
    spread = lengths**2 / len(x)
    ridge = max(_RIDGE * float(spread.sum()) / len(scale), 1e-12)
    return _Ruler(means=means, middle=middle, scale=scale, axes=axes, kept=ridge / (spread + ridge))


def by_heart(rows: Records) -> Losses:
    """Return the loss of a model that knows ``rows`` by heart: the positive control of attacks by loss.

    It is a number of the Gaussians that the library releases (``methods.moments``), each fitted to so few of the rows
    that these span it; a record's loss is its −log density, up to a constant, under the one that fits it best. So it
    shows that an attack finds a model which knows half of the members, with as many people and genes as there are. It
    does not show that a network trained on them would know them, nor how well the attack reads one that does in part.
    """
    few = int(np.clip(rows.x.shape[1] // 2, _FEW, _MANY))
    x = rows.x.astype(np.float64)
    variance = x.var(0) + 1e-4
    parts = np.array_split(x, max(1, len(x) // few))
    models = [_spanned(part, variance) for part in parts]

    def losses(people: Records) -> Array:
        nobody = np.zeros(len(people), np.int64)
        return np.asarray(np.min([surprise(model, people.x.astype(np.float64), nobody) for model in models], axis=0))

    return losses


def _spanned(x: Array, variance: Array) -> Model:
    """Return the Gaussian of rows (n, genes), n below genes: all that they share, and little of a gene's own."""
    mean = x.mean(0)
    return Model(means=mean[None], loadings=(x - mean).T / np.sqrt(len(x)), own=_OWN * variance)
