"""Language models: tokens a second of our training loop, against a plain loop of PyTorch over the same model.

Every architecture at every capacity, 4 letters, rows of 128 tokens in batches of 32, Adam, one thread. Candidates take
turns of one epoch; ratios are of medians of the clock, and memory is how far a candidate, its model and its first epoch
grow the process.

- ``fedgenome``: :mod:`fedgenome.models.language.training`, with its losses a row.
- ``plain``: the mean loss over all tokens at once, ``torch.optim.Adam(fused=True)``, no looks in between.

Run: ``python -m experiments.benchmarks.language`` (``--quick``: the small capacities, fewer epochs).
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from experiments import harness
from experiments.benchmarks._processes import growth
from experiments.harness import Result, Target
from fedgenome.models.language.sizes import CAPACITIES, Model, Options, build
from fedgenome.models.language.training import train
from fedgenome.models.parameters import flatten, initialise

OURS, PLAIN = "fedgenome", "plain"
VOCABULARY, LENGTH, BATCH = 4, 128, 32
RATE, HIDDEN = 1e-3, 0.15
BATCHES = 4  # an epoch's
LEAST = 0.9  # of the plain loop's tokens a second


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """What is trained.

    Attributes:
        name: In rows and targets.
        options: The model's.
        tokens: (rows, length).
    """

    name: str
    options: Options
    tokens: Tensor

    def model(self) -> Model:
        """Return the model with its first weights, the same every time."""
        made = build(self.options, VOCABULARY, LENGTH)
        initialise(made, np.random.default_rng(1))
        return made

    @property
    def hidden(self) -> float | None:
        """Chance of a position to be hidden, of masked models."""
        return HIDDEN if self.options.architecture == "masked" else None


def cases(quick: bool) -> Iterator[Case]:
    """Yield every architecture at every capacity, the small one alone if ``quick``."""
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, VOCABULARY, (BATCH * BATCHES, LENGTH)))
    for architecture, capacities in CAPACITIES.items():
        for capacity, options in capacities.items():
            if capacity == "small" or not quick:
                yield Case(name=f"{architecture}, {capacity}", options=options, tokens=tokens)


def _ours(case: Case, model: Model) -> Iterator[object]:
    every, rng = range(1, 1000), np.random.default_rng(2)
    return train(model, case.tokens, epochs=every, batch=BATCH, rate=RATE, rng=rng, hidden=case.hidden)


def _plain(case: Case, model: Model) -> Iterator[object]:
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    generator = torch.Generator().manual_seed(2)
    while True:
        for index in torch.split(torch.randperm(len(case.tokens), generator=generator), BATCH):
            rows = case.tokens[index]
            if case.hidden is None:
                loss = functional.cross_entropy(model(rows).flatten(0, 1), rows.flatten())
            else:
                hidden = torch.rand(rows.shape, generator=generator) < case.hidden
                loss = functional.cross_entropy(model(rows, hidden)[hidden], rows[hidden])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        yield None


CANDIDATES: Mapping[str, Callable[[Case, Model], Iterator[object]]] = MappingProxyType({OURS: _ours, PLAIN: _plain})


def _race(case: Case, turns: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each candidate."""
    runs: dict[str, Iterator[object]] = {}
    held: dict[str, int] = {}
    for name, start in CANDIDATES.items():

        def first(name: str = name, start: Callable[[Case, Model], Iterator[object]] = start) -> None:
            runs[name] = start(case, case.model())
            next(runs[name])

        first()  # what libraries set up once is not its memory
        held[name] = growth(first)
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(turns):
        for name, run in runs.items():
            begin = time.perf_counter()
            next(run)
            seconds[name].append(time.perf_counter() - begin)
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name in CANDIDATES:
        yield {
            "model": case.name,
            "parameters": flatten(case.model()).size,
            "candidate": name,
            "tokens a second": case.tokens.numel() / median[name],
            "of plain": median[PLAIN] / median[name],
            "MB": held[name] / 1e6,
        }


def _speed(quick: bool, say: Callable[[str], None]) -> tuple[list[dict[str, Any]], list[Target]]:
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    for case in cases(quick):
        say(case.name)
        here = list(_race(case, 5 if quick else 15))
        ours = next(row["of plain"] for row in here if row["candidate"] == OURS)
        rows += here
        targets.append(
            Target(name=f"{case.name}: tokens a second, of plain", value=ours, target=LEAST, sense="at least")
        )
    return rows, targets


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Time every candidate on every model."""
    torch.set_num_threads(1)
    rows, targets = _speed(quick, say)
    return Result(rows=rows, targets=targets)


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
