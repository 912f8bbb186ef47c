"""Orthonormal bases in which rows are perturbed: public, the same at every site, and they keep distances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy import fft

Rows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """A linear map that keeps distances, and its inverse.

    Attributes:
        forward: (rows, genes) and K → (rows, K), the first K coefficients, coarse ones first.
        inverse: (rows, K) and the number of genes → (rows, genes); lacking coefficients are zero.
    """

    forward: Callable[[Rows, int], Rows]
    inverse: Callable[[Rows, int], Rows]


def _cosines(rows: Rows, keep: int) -> Rows:
    return np.asarray(fft.dct(rows, type=2, norm="ortho", axis=1), np.float64)[:, :keep]


def _from_cosines(coefficients: Rows, genes: int) -> Rows:
    return np.asarray(fft.idct(coefficients, type=2, n=genes, norm="ortho", axis=1), np.float64)


def _haar(rows: Rows, keep: int) -> Rows:
    """Return Haar coefficients of rows lengthened by zeros to a power of two (which keeps distances)."""
    sums, details = _padded(rows, 1 << max(0, rows.shape[1] - 1).bit_length()), []
    while sums.shape[1] > 1:
        even, odd = sums[:, ::2], sums[:, 1::2]
        details.append((even - odd) / np.sqrt(2))
        sums = (even + odd) / np.sqrt(2)
    return np.concatenate([sums, *reversed(details)], axis=1)[:, :keep]


def _from_haar(coefficients: Rows, genes: int) -> Rows:
    width = 1 << max(0, genes - 1).bit_length()
    every = _padded(coefficients, width)
    sums, done = every[:, :1], 1
    while done < width:
        detail = every[:, done : 2 * done]
        sums = np.stack([sums + detail, sums - detail], axis=2).reshape(len(every), 2 * done) / np.sqrt(2)
        done *= 2
    return sums[:, :genes]


def _padded(rows: Rows, width: int) -> Rows:
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


BASES: Mapping[str, Basis] = MappingProxyType(
    {
        "dct": Basis(forward=_cosines, inverse=_from_cosines),
        "haar": Basis(forward=_haar, inverse=_from_haar),
    }
)
