"""Draw rows from a released generator: post-processing of what was paid for (DESIGN §7.7)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedgenome.methods.base import Generator
from fedgenome.query import Array
from fedgenome.release import Synthetic


def synthesize(generator: Generator, arrays: Mapping[str, Array], rows: int, rng: np.random.Generator) -> Synthetic:
    """Return ``rows`` rows whose labels are drawn from the paid label shares, never from real labels.

    Args:
        arrays: What the method released.
        rows: A public number.
        rng: The same state gives the same rows.
    """
    weights = generator.label_weights(arrays)
    labels = np.sort(rng.choice(len(weights), size=rows, p=weights)).astype(np.int64)
    return Synthetic(x=generator.sample(arrays, labels, rng), label=labels)
