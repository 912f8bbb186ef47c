"""Whether the study's distances and noise are what they are taken for: the library's exact noise beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from experiments.deeptype import sanitizers
from experiments.deeptype.people import People
from fedgenome.sanitize.bases import BASES
from fedgenome.sanitize.guarantee import Guarantee, coefficients
from fedgenome.sanitize.rows import naming, perturbed
from fedgenome.streams import Root
from fedgenome.study import Sanitize, Schema

Array = npt.NDArray[np.float64]

_ROWS = 1000  # whose distances are taken gene by gene, and whose exact noise is drawn


def checks(who: People, seeds: Sequence[int]) -> dict[str, str | float]:
    """Return by how much squares of distances, gene by gene, miss adding up, and p of "exact noise lies as far"."""
    x, rng = who.x[:_ROWS].astype(np.float64), np.random.default_rng([42, *seeds])
    off, p = [], []
    for kind in ("metric", "laplace"):
        spec = Sanitize.model_validate({"kind": kind, "keep": 50, "epsilon": 100.0})
        basis = BASES[spec.basis]
        kept = basis.forward(x, 50)
        noise = sanitizers.noise(spec, len(x), 50, rng)
        moved, short = basis.inverse(kept + noise, x.shape[1]), basis.inverse(kept, x.shape[1])
        whole, *parts = (((a - b) ** 2).sum(1) for a, b in ((moved, x), (short, x), (moved, short)))
        off.append(float(np.abs(whole / sum(parts) - 1).max()))
        exact = np.concatenate([exact_noise(who.x[:_ROWS], who.schema, spec, seed) for seed in seeds])
        others = np.linalg.norm(sanitizers.noise(spec, 20 * len(exact), 50, rng), axis=1)
        p.append(float(stats.ks_2samp(np.linalg.norm(exact, axis=1), others).pvalue))
    return {"cohort": who.name, "squares off": max(off), "exact noise, p": min(p)}


def exact_noise(x: npt.NDArray[np.float32], schema: Schema, spec: Sanitize, seed: int) -> Array:
    """Return what the library adds to coefficients of rows in units of the range, (rows, K)."""
    guarantee, values = Guarantee.of(spec, schema), schema.low + (schema.high - schema.low) * x
    names = [f"person-{i}" for i in range(len(x))]
    moved = perturbed(values, names, guarantee, Root.simulation(seed, "distances"), naming(spec, schema))
    return BASES[spec.basis].forward(moved, guarantee.kept) - coefficients(values, guarantee)
