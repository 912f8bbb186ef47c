"""What a generator costs: seconds and megabytes with every role, for 2, 5, 16 and 40 hospitals and 1,000 genes.

A thousand made-up donors, five classes; site agents and coordinator in this process, three party processes, real
keys, real randomness (no seed). Seconds are from the first question to the last answer, parties started before.
Published for about 1,000 genes of 1,089 to 4,323 donors at two hospitals, on 24 cores: 117 to 427 s (three servers,
passive), and 4,800 to 20,792 s (active), without the fit.
Run: ``python -m experiments.synthesis.cost`` (``--quick``: two and five hospitals, no CVAE).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np

from experiments import harness
from experiments.harness import Result, Target
from experiments.synthesis import arms, federation
from experiments.synthesis.loop import Kind
from fedgenome.prepare import prepare

SITES = (2, 5, 16, 40)
DONORS, GENES = 1000, 1000
CLASSES = tuple("ABCDE")
SECONDS = 5.0  # promised for methods of few questions
PUBLISHED = 117.0
MANY = "DP-CVAE"


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Time every method of the library at every number of hospitals."""
    rows, targets = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = _cohort(Path(folder))
        for name, arm in arms.methods(arms.LOG).items():
            for sites in SITES[:2] if quick else SITES:
                if arm.kind is None or (quick and name == MANY):
                    continue
                say(f"{name}, {sites} hospitals")
                row: dict[str, Any] = {"method": name, "hospitals": sites} | _run(path, arm.kind, sites)
                rows.append(row)
                if name != MANY:
                    told = f"{name}, {sites} hospitals: seconds"
                    targets.append(Target(name=told, value=row["seconds"], target=SECONDS, sense="at most"))
    return Result(rows=rows, targets=targets)


def _cohort(folder: Path) -> Path:
    """Write a cohort of made-up donors, of log expression with a shift for each class."""
    rng = np.random.default_rng(1)
    label = np.arange(DONORS) % len(CLASSES)
    x = 7.5 + rng.standard_normal((len(CLASSES), GENES))[label] + rng.standard_normal((DONORS, GENES))
    table = anndata.AnnData(np.clip(x, 0, 20).astype(np.float32))
    table.obs_names = [f"d{i}" for i in range(DONORS)]
    table.var_names = [f"g{i}" for i in range(GENES)]
    table.obs["label"] = [CLASSES[i] for i in label]
    path = folder / "made-up.h5ad"
    table.write_h5ad(path)
    return path


def _run(path: Path, kind: Kind, sites: int) -> dict[str, Any]:
    cohort = {"source": str(path), "label": "label", "labels": CLASSES, "scale": "log", "high": 20.0, "public": True}
    deals = {"by": "even", "sites": sites, "controls": 0.0}
    asked = federation.study(kind, 10.0, cohort, DONORS, 1e-4, deals, colluders=1)
    found = federation.run(prepare(asked, np.random.default_rng(1)), None)
    return {
        "questions": found.queries,
        "seconds": round(found.seconds, 2),
        "published 117 s, times faster": round(PUBLISHED / found.seconds, 1),
        "CPU seconds of sites and coordinator": round(found.cpu_seconds, 2),
        "megabytes sent by a hospital": round(found.uploaded / sites / 1e6, 3),
        "megabytes sent by all": round(found.uploaded / 1e6, 3),
    }


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
