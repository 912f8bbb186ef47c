"""Genotypes of two groups of people side by side: what is told of both, counted by matrix products.

Dosages are int8 (people, variants): 0, 1 or 2 copies of ALT. Whatever is negative tells nothing: ``MISSING``, or
``MASK`` where a release withholds the entry and says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fedgenome.errors import require
from fedgenome.query import Array

MISSING, MASK = -1, -2
GENOTYPES = 3
_CELLS = 1 << 24  # numbers held at once beside the result: 64 MiB


def require_dosages(symbols: int = GENOTYPES, /, **arrays: Array) -> int:
    """Return how many variants ``arrays`` have, once they are found to be dosages of the same ones.

    Raises:
        SpecError: not integers of (people, variants), other variants than the first, a code of ``symbols`` or more.
    """
    widths = {name: array.shape[1:] for name, array in arrays.items()}
    width = next(iter(widths.values()))
    require(len(width) == 1 and len(set(widths.values())) == 1, "(people, variants) of the same variants", **widths)
    for name, array in arrays.items():
        require(np.issubdtype(array.dtype, np.integer), f"{name} of integers", dtype=str(array.dtype))
        top = int(array.max(initial=MISSING))
        require(top < symbols, f"{name} below {symbols}, or negative where nothing is told", largest=top)
    return int(width[0])


def chunks(people: int, variants: int, symbols: int = GENOTYPES) -> Iterator[slice]:
    """Yield slices of variants, so short that a number for each of ``people``, variants and symbols is small."""
    step = max(1, _CELLS // max(1, people * symbols))
    for start in range(0, variants, step):
        yield slice(start, start + step)


def one_hot(dosages: Array) -> Array:
    """Return which dosage is told, float32 (people, variants, 3); all 0 where none is."""
    return np.asarray(dosages[..., None] == np.arange(GENOTYPES, dtype=dosages.dtype), dtype=np.float32)


def joint(probes: Array, candidates: Array) -> Array:
    """Return at how many variants a probe has g and a candidate h, int32 (3, 3, probes, candidates).

    Variants that are not told of both count nowhere.
    """
    variants = require_dosages(probes=probes, candidates=candidates)
    counts = np.zeros((GENOTYPES, GENOTYPES, len(probes), len(candidates)), np.int32)
    for part in chunks(len(probes) + len(candidates), variants):
        left, right = one_hot(probes[:, part]), one_hot(candidates[:, part])
        for g in range(GENOTYPES):
            for h in range(GENOTYPES):
                counts[g, h] += (left[..., g] @ right[..., h].T).astype(np.int32)  # exact: below 2^24
    return counts


def frequencies(base: Array) -> Array:
    """Return the frequency of ALT, float64 (variants,), half a copy of either allele added to what is seen."""
    require_dosages(base=base)
    told = base >= 0
    return np.asarray((np.where(told, base, 0).sum(0) + 0.5) / (2 * told.sum(0) + 1))
