"""The library's sanitizers with noise in floating point, for hundreds of tables: they claim nothing.

Whoever attacks sanitized rows, or a model trained on them, sanitizes people of his own the same way: bases, scale and
ε are public. That the library's exact noise gives the same distances is tested (:mod:`.exactness`).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from fedgenome.sanitize.bases import BASES
from fedgenome.study import Sanitize

Rows = npt.NDArray[np.float64]


def noise(spec: Sanitize, rows: int, coefficients: int, rng: np.random.Generator) -> Rows:
    """Return what is added to coefficients, (rows, coefficients).

    Metric: a direction at random, as long as Gamma(K, 1/ε) says (Chatzikokolakis et al. 2013). Laplace: scale √K/ε a
    coefficient, which promises the same.
    """
    shape = rows, coefficients
    if spec.epsilon is None:
        return np.zeros(shape)
    if spec.kind == "laplace":
        return rng.laplace(0, math.sqrt(coefficients) / spec.epsilon, shape)
    direction = rng.standard_normal(shape)
    length = rng.gamma(coefficients, 1 / spec.epsilon, (rows, 1))
    return np.asarray(direction * (length / np.linalg.norm(direction, axis=1, keepdims=True)), np.float64)


def sanitized(x: npt.NDArray[np.float32], spec: Sanitize, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return rows in units of the range as ``spec`` has them perturbed, within the range again, (rows, genes)."""
    basis, genes = BASES[spec.basis], x.shape[1]
    kept = basis.forward(x.astype(np.float64), spec.kept(genes))
    moved = basis.inverse(kept + noise(spec, len(kept), kept.shape[1], rng), genes)
    return np.clip(moved, 0, 1).astype(np.float32)
