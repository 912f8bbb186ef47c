"""Dosages by randomised response: each is told as it is, or as one of the others, by a coin of its own.

Of one variant that is local differential privacy with a small ε. Variants add up: of all that are told together ε is
the sum, or at δ above 0 somewhat less, so that what hides a person among others leaves nothing of the dosages. A draw
from a NumPy generator is a simulation and promises nothing; the law is the same.

Source: Warner 1965, "Randomized response", with three answers; composition by Bun & Steinke 2016, "Concentrated
differential privacy", propositions 1.3 and 1.4.
"""

from __future__ import annotations

import math

import numpy as np

from fedgenome.errors import require
from fedgenome.query import Array

_DOSAGES = 3


def kept(epsilon: float) -> float:
    """Return the chance that a dosage is told as it is: e^ε/(e^ε + 2)."""
    require(epsilon > 0, "epsilon > 0", epsilon=epsilon)
    return 1 / (1 + (_DOSAGES - 1) * math.exp(-epsilon))


def randomised(dosages: Array, epsilon: float, rng: np.random.Generator) -> Array:
    """Return dosages as they are told, int8 (people, variants); one that is missing is told as any, alike.

    Args:
        dosages: int (people, variants), 0, 1 or 2; negative where missing.
        epsilon: Of one variant.
        rng: Draws.
    """
    require(int(dosages.max(initial=0)) < _DOSAGES, "dosages of 0, 1 and 2, or negative")
    moved = np.where(rng.random(dosages.shape) < kept(epsilon), 0, rng.integers(1, _DOSAGES, dosages.shape))
    anew = np.where(dosages < 0, rng.integers(0, _DOSAGES, dosages.shape), (dosages + moved) % _DOSAGES)
    return np.asarray(anew, np.int8)


def frequencies(told: Array, epsilon: float) -> Array:
    """Return unbiased frequencies of ALT from randomised dosages, float64 (variants,); they may leave [0, 1].

    The mean told is 3·(1 − k)/2 + (3k − 1)/2 · mean, with k the chance of :func:`kept`.
    """
    require(bool(((told >= 0) & (told < _DOSAGES)).all()), "dosages as they are told")
    chance = kept(epsilon)
    return np.asarray((told.mean(0) - 3 * (1 - chance) / 2) / (3 * chance - 1))


def composed(epsilon: float, variants: int, delta: float = 0.0) -> float:
    """Return ε of all variants of a person told together, at δ.

    Pure: ε times their number. With δ above 0 the smaller of that and ρ + 2√(ρ·ln(1/δ)), ρ = variants·ε²/2.

    >>> composed(0.1, 20)
    2.0
    >>> composed(0.1, 10_000) > composed(0.1, 10_000, 1e-5) > 90
    True
    """
    require(epsilon > 0 and variants >= 1, "epsilon > 0 and variants >= 1", epsilon=epsilon, variants=variants)
    require(0 <= delta < 1, "0 <= delta < 1", delta=delta)
    pure = epsilon * variants
    if delta == 0:
        return pure
    rho = variants * epsilon**2 / 2
    return min(pure, rho + 2 * math.sqrt(rho * math.log(1 / delta)))
