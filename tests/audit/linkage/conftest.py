"""Made people: independent variants, and a second look at some of them with errors."""

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True, kw_only=True)
class Panels:
    """Two looks at people, and who is whose (decoys last); base and pairs of others."""

    probes: np.ndarray
    candidates: np.ndarray
    owner: np.ndarray
    base: np.ndarray
    pairs: tuple[np.ndarray, np.ndarray]


@pytest.fixture
def made():
    """Return a function that makes panels: linked people, decoys, strangers, variants, errors of a probe."""

    def make(rng, linked=40, decoys=40, strangers=40, variants=60, error=0.02):
        alt = rng.uniform(0.2, 0.5, variants)

        def people(n):
            return rng.binomial(2, alt, (n, variants)).astype(np.int8)

        def look(true):
            wrong = rng.random(true.shape) < error
            return np.where(wrong, (true + rng.integers(1, 3, true.shape)) % 3, true).astype(np.int8)

        candidates, base, others = people(linked + strangers), people(100), people(100)
        order = rng.permutation(len(candidates))
        probes = np.concatenate([look(candidates[order[:linked]]), look(people(decoys))])
        owner = np.concatenate([order[:linked], np.full(decoys, -1)])
        return Panels(probes=probes, candidates=candidates, owner=owner, base=base, pairs=(look(others), others))

    return make
