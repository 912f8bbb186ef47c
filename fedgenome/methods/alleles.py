"""Haplotypes drawn down a list of variants, each given one before it; dosages are two of them, drawn apart.

Two alleles of frequencies p and q correlate by r = (P(both) − pq)/√(p(1 − p)q(1 − q)): linkage disequilibrium (Hill &
Robertson 1968). All of it is post-processing: it reads noisy sums and public facts only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedgenome.query import Array

Floats = npt.NDArray[np.float64]


def variances(p: Floats) -> Floats:
    """Return the variance of an allele of frequency ``p``."""
    return p * (1 - p)


def both(p: Floats, q: Floats, ties: Floats) -> Floats:
    """Return P(a haplotype has both alleles) where they correlate by ``ties``, as far as p and q allow."""
    wanted = p * q + ties * np.sqrt(variances(p) * variances(q))
    return np.asarray(np.clip(wanted, np.maximum(0, p + q - 1), np.minimum(p, q)))


def draw(
    frequencies: Floats, before: Array, ties: Floats, labels: Array, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Return dosages of a person for each label code, whole numbers, float32 (n, variants).

    Args:
        frequencies: Of ALT, (labels, variants).
        before: Which earlier variant each is drawn given, int (variants,); −1: none.
        ties: Their correlation, (variants,).
        labels: int (n,).
        rng: Draws two haplotypes a person.
    """
    people, variants = len(labels), frequencies.shape[1]
    has = np.zeros((variants, 2, people), np.bool_)
    for at, parent in enumerate(before):
        p = frequencies[:, at]
        uniform = rng.random((2, people))
        if parent < 0:
            has[at] = uniform < p[labels]
            continue
        q = frequencies[:, parent]
        joint = both(q, p, ties[at])
        given = np.stack([(p - joint) / np.maximum(1 - q, 1e-12), joint / np.maximum(q, 1e-12)])
        has[at] = uniform < given[has[parent].astype(np.int8), labels]
    dosages: npt.NDArray[np.float32] = has.sum(1, dtype=np.float32).T
    return dosages


def pair_table(p: Floats, q: Floats, joint: Floats) -> Floats:
    """Return P(dosage g of the first, h of the second), (…, 3, 3), of two haplotypes drawn apart.

    Args:
        p: Frequency of the first.
        q: Of the second.
        joint: Of both, on one haplotype.
    """
    one = np.stack([1 - p - q + joint, q - joint, p - joint, joint], axis=-1).reshape(*np.shape(joint), 2, 2)
    made = np.zeros((*np.shape(joint), 3, 3))
    for i in range(2):
        for j in range(2):
            made[..., i : i + 2, j : j + 2] += one[..., i, j, None, None] * one
    return made
