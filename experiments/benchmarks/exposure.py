"""Language models' audit: how long exact exposure of 100 canaries takes, and proving which string is likeliest.

First weights of every architecture at every capacity, one thread. Canaries are the first ten of 48 letters, ranked
among all 4¹⁰ strings; of masked models, which read each string once a letter, the first seven among 4⁷. The library
checks the sum over all strings. Memory is how far the walk grows the process, its answer of 8 MB included.

Run: ``python -m experiments.benchmarks.exposure`` (``--quick``: the small capacities, eight letters and five).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from experiments import harness
from experiments.benchmarks._processes import growth
from experiments.harness import Result, Target
from fedgenome.audit.language import enumeration, search
from fedgenome.models.language.base import Causal
from fedgenome.models.language.sizes import CAPACITIES, Model, build
from fedgenome.models.parameters import flatten, initialise

VOCABULARY, WINDOW, CANARIES = 4, 48, 100
CAUSAL, MASKED = 10, 7  # letters
SECONDS = 30.0  # of the small capacities


def _models(quick: bool) -> Iterator[tuple[str, Model]]:
    for architecture, capacities in CAPACITIES.items():
        for capacity, options in capacities.items():
            if capacity == "small" or not quick:
                model = build(options, VOCABULARY, WINDOW)
                initialise(model, np.random.default_rng(1))
                yield f"{architecture}, {capacity}", model


def _row(name: str, model: Model, quick: bool) -> dict[str, Any]:
    length = (CAUSAL if isinstance(model, Causal) else MASKED) - 2 * quick
    drawn = np.random.default_rng(2).integers(0, VOCABULARY, (CANARIES, length))
    bits: list[float] = []

    def exposed() -> None:
        every = (
            enumeration.table(model, length) if isinstance(model, Causal) else enumeration.pseudo_table(model, length)
        )
        bits.extend(enumeration.exposures(every, drawn, VOCABULARY))

    begin = time.perf_counter()
    held = growth(exposed)
    row = {
        "model": name,
        "parameters": flatten(model).size,
        "strings": VOCABULARY**length,
        "exposure, s": time.perf_counter() - begin,
        "MB": held / 1e6,
        "mean bits": float(np.mean(bits)),
    }
    return row | (_search(model, length) if isinstance(model, Causal) else {})


def _search(model: Causal, length: int) -> dict[str, Any]:
    begin = time.perf_counter()
    found = search.likeliest(model, np.empty(0, np.int64), length)
    return {"likeliest, s": time.perf_counter() - begin, "proven": found.proven, "beginnings read": found.nodes}


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Time every model."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name, model in _models(quick):
        rows.append(_row(name, model, quick))
        say(name)
    targets = [
        Target(name=f"{row['model']}: exact exposure, s", value=row["exposure, s"], target=SECONDS, sense="at most")
        for row in rows
        if row["model"].endswith("small")
    ]
    return Result(rows=rows, targets=targets)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
