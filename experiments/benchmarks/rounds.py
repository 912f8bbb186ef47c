"""200 rounds of DP-FedSGD on 1e5 parameters: five sites, three parties, everything on.

Real cells, real Flower apps over the local grid, real party processes with noise; the wall clock of
the rounds alone, the processors' time in them of the driver (coordinator and all sites) and of the
busiest party, and how long the parties took to start.
Run: ``python -m experiments.benchmarks.rounds`` (``--quick``: 20 rounds).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments import harness
from experiments.benchmarks import _processes as processes
from experiments.harness import Result, Target
from fedgenome import experiment, federate
from fedgenome.prepare import prepare
from fedgenome.study import MethodSpec

QUICKSTART = Path(__file__).parents[1] / "quickstart.toml"
HIDDEN = 700  # about 1e5 parameters with 50 genes and 10 classes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tick:
    """Seconds at the end of a query: of the clock, of the driver's processor, of each party's."""

    clock: float
    driver: float
    parties: tuple[float, ...]


def _tick(pids: Sequence[int]) -> _Tick:
    busy = tuple(map(processes.cpu_seconds, pids))
    return _Tick(clock=time.perf_counter(), driver=time.process_time(), parties=busy)


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Time every query of one run."""
    rounds = 20 if quick else 200
    options = {"rounds": rounds, "sampling": 0.2, "hidden": HIDDEN}
    method = MethodSpec(kind="cvae", options=options)
    spec = experiment.load(QUICKSTART).model_copy(update={"methods": (method,), "release": experiment.ReleaseSpec()})
    prepared = prepare(spec, np.random.default_rng(1))
    ticks: list[_Tick] = []
    before = processes.children()
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        with federate.parties(None) as parties:
            home = Path(folder)
            place = federate.Place(
                state=home / "state", ledgers=home / "sites", parties=home / "parties", run="rounds", seed=None
            )
            if parties is not None:
                parties.keep(place.parties)
                parties.ready()
            started = time.perf_counter() - begin
            pids = sorted(processes.children() - before)
            trained = federate.federate(prepared, place, parties, lambda _, __: ticks.append(_tick(pids)))
    elements = int(trained.arrays["cvae"]["weights"].size)
    first, last = ticks[0], ticks[-1]  # the first tick ends the label query: the rounds follow
    steps = np.diff([tick.clock for tick in ticks])
    say(f"{rounds} rounds of {elements:,} parameters in {steps.sum():.1f} s; parties ready after {started:.1f} s")
    row = {
        "rounds": rounds,
        "parameters": elements,
        "seconds": float(steps.sum()),
        "ms a round, median": float(np.median(steps) * 1e3),
        "ms a round, worst": float(steps.max() * 1e3),
        "ms of CPU a round, driver": (last.driver - first.driver) / rounds * 1e3,
        "ms of CPU a round, busiest party": max(np.subtract(last.parties, first.parties)) / rounds * 1e3,
        "parties ready, seconds": started,
    }
    scaled = float(steps.sum()) * 200 / rounds
    name = "seconds for 200 rounds of 1e5 parameters, 5 sites, 3 parties"
    return Result(rows=[row], targets=[Target(name=name, value=scaled, target=15.0, sense="at most")])


if __name__ == "__main__":
    harness.main(__file__, __doc__ or "", measure)
