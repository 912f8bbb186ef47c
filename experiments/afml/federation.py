"""A learned mask by the real federation: five sites, secure sums of three parties, and the same with plain sums."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from experiments.afml.frontier import Row
from experiments.afml.learned import BOUND, BUDGET, FILL
from experiments.afml.paper import dealt
from experiments.afml.worlds import World
from experiments.harness import Target
from experiments.synthesis import federation
from fedgenome.experiment import Experiment
from fedgenome.prepare import prepare
from fedgenome.query import Array
from fedgenome.streams import Root

WHAT = "learned at five sites"
ROUNDS, SEEN, LISTED = 5, 400, (5, 20)
_LABELS = ("control", "case")


def alike(at: World) -> Iterator[Row]:
    """Yield, for sites by chance and by population, how many variants the lists of both sums have in common."""
    for by_population in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cohort.h5ad"
            _write(path, at, by_population)
            secure, plain = (_scores(path, sums, at.seed) for sums in ("on", "off"))
        yield {
            WHAT: "by population" if by_population else "by chance",
            "seed": at.seed,
            "people": len(at.sides.chosen),
            "largest difference of keep logits": float(abs(secure - plain).max()),
            **{f"alike of {k}": len(set(_first(secure, k)) & set(_first(plain, k))) for k in LISTED},
        }


def targets(rows: list[Row]) -> Iterator[Target]:
    """Yield: secure sums learn the list that plain ones do."""
    least = min(row[f"alike of {k}"] / k for row in rows for k in LISTED)
    name = f"{WHAT}: variants of a list that secure and plain sums have in common, least share"
    yield Target(name=name, value=least, target=1.0, sense="at least")


def _write(path: Path, at: World, by_population: bool) -> None:
    rows = at.sides.chosen
    site = np.zeros(len(rows), np.int64)
    for number, people in enumerate(dealt(at, by_population)):
        site[people] = number
    obs = {
        "donor": [f"person {row}" for row in rows],
        "label": [_LABELS[each] for each in at.label[rows]],
        "site": [f"site {number + 1}" for number in site],
    }
    columns = _columns(at)
    var = pd.DataFrame(index=[at.panels.names[column] for column in columns])
    dosages = at.panels.array[np.ix_(rows, columns)]
    table = pd.DataFrame(obs, index=obs["donor"])
    anndata.AnnData(X=dosages, obs=table, var=var, uns={"genotypes": {"coding": "dosage", "selected": ""}}).write_h5ad(
        path
    )


def _columns(at: World) -> Array:
    variants = at.panels.array.shape[1]
    return np.sort(at.rng("federation").choice(variants, min(SEEN, variants), replace=False))


def _scores(path: Path, sums: str, seed: int) -> Array:
    ready = prepare(_study(path, sums), Root.simulation(seed, "split").stream("split").generator())
    return np.asarray(federation.run(ready, seed).arrays["score"])


def _study(path: Path, sums: str) -> Experiment:
    cohort: dict[str, Any] = {"source": str(path), "label": "label", "labels": _LABELS, "donor": "donor"}
    cohort |= {"site": "site", "scale": "dosage", "fill": FILL, "public": True, "high": 2.0}
    options = {"budget": BUDGET, "rounds": ROUNDS, "price": 0.1}
    return Experiment.model_validate(
        {
            "name": "afml",
            "cohort": cohort,
            "split": {"by": "column", "controls": 0.0},
            "caps": {"site_cap": BOUND, "donors_bound": BOUND},
            "privacy": {"trust": "none"},
            "engine": {"secure": sums},
            "methods": [{"kind": "masking", "options": options}],
        }
    )


def _first(score: Array, length: int) -> list[int]:
    return [int(each) for each in np.argsort(-score, kind="stable")[:length]]
