"""Secure selections: time, bytes and the start of parties with and without a dealer.

Three real party processes and a dealer; five sites' scores are sealed, added and compared, and the winner opened.
Timed is REVEAL alone: noise, its record on disk, the tournament, the winners' record. CPU is that of all four
processes, bytes what they wrote to each other, TLS and disk records included (``wchar`` of ``/proc``).
Run: ``python -m experiments.benchmarks.select`` (``--quick``: 1,000 scores only).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments import harness
from experiments.harness import Result
from fedgenome.errors import require
from fedgenome.query import PARTIES, Mechanism, Query, Question, Roster, Terms, choose_scale
from fedgenome.secure import bundle, ring
from fedgenome.secure.identity import Identity
from fedgenome.secure.parties import Parties
from fedgenome.secure.runkeys import check_all

SITES, DONORS, EPSILON = 5, 200, 40.0  # ε so large that the winner can be checked
REPEATS = 3


class Federation:
    """Parties, dealer and the sites' keys of one run."""

    def __init__(self, parties: Parties, folder: Path) -> None:
        self.parties = parties
        keys = parties.keep(folder, dealer=True)
        self._sites = {f"site-{index + 1}": Identity.generate() for index in range(SITES)}
        sites = tuple((name, DONORS, identity.public) for name, identity in self._sites.items())
        roster = Roster(sites=sites, parties=keys[:PARTIES], dealer=keys[PARTIES])
        self._terms = Terms(caps=roster.caps, colluders=1, quorum=SITES, roster=roster.digest, plan="")
        parties.ready()
        run_keys = parties.pin("", "benchmark", self._terms, roster)
        self._publics = check_all(run_keys, roster.parties, "", "benchmark", self._terms)

    def deliver(self, step: int, scores: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Hand the parties every site's scores; return their sum (scores,)."""
        mechanism = Mechanism(kind="exponential", level=EPSILON)
        question = Question(
            payload={}, length=scores, reply_length=1, bound=1.0, mechanism=mechanism, reduce="select", monotone=True
        )
        when: dict[str, Any] = {"study": "", "run": "benchmark", "method": "select", "step": step, "attempt": 0}
        query = Query(question=question, terms=self._terms, scale=choose_scale(question, self._terms), **when)
        self.parties.begin(query)
        rng, total = np.random.default_rng(step), np.zeros(scores, np.int64)
        for index, (name, identity) in enumerate(self._sites.items()):
            own = rng.integers(0, DONORS, scores)
            parts = bundle.seal(
                query, name, index, ring.encode(own.astype(np.float64), query.scale, query.width), self._publics
            )
            self.parties.deliver(name, parts, bundle.sign(query, name, parts, identity))
            total += own
        return total

    def select(self) -> int:
        """Return the winner."""
        (winner,) = self.parties.select(list(self._sites)).tolist()
        return int(winner)


def measure(quick: bool, say: Callable[[str], None]) -> Result:
    """Time selections of growing numbers of scores, and starts."""
    rows: list[dict[str, Any]] = [_start(dealer) for dealer in (False, True)]
    with tempfile.TemporaryDirectory() as folder, Parties.start(Path(folder), None) as parties:
        federation = Federation(parties, Path(folder) / "kept")
        processes = [handle.process.pid for handle in parties._all if handle.process is not None]
        for size, scores in enumerate((1000,) if quick else (1000, 10_000, 100_000)):
            runs = [_one(federation, processes, size * REPEATS + k, scores) for k in range(REPEATS)]
            rows.append({"scores": scores} | {name: float(np.median([run[name] for run in runs])) for name in runs[0]})
            say(f"{scores:,} scores: {rows[-1]['seconds']:.2f} s")
    return Result(rows=rows, targets=[])


def _start(dealer: bool) -> dict[str, Any]:
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Parties.start(Path(folder), None) as parties:
        parties.keep(Path(folder) / "kept", dealer=dealer)
        parties.ready()
        seconds = time.perf_counter() - begun
        processes = [handle.process.pid for handle in parties._all if handle.process is not None]
        return {"dealer": dealer, "ready, seconds": seconds, "CPU seconds, all processes": _spent(processes)[0]}


def _one(federation: Federation, processes: Sequence[int], step: int, scores: int) -> dict[str, float]:
    total = federation.deliver(step, scores)
    before, begun = _spent(processes), time.perf_counter()
    winner = federation.select()
    seconds, after = time.perf_counter() - begun, _spent(processes)
    require(winner == int(np.argmax(total)), "the largest score", winner=winner)
    cpu, written = (later - earlier for later, earlier in zip(after, before, strict=True))
    return {"seconds": seconds, "CPU seconds": cpu, "bytes": written, "bytes a score": written / scores}


def _spent(processes: Sequence[int]) -> tuple[float, float]:
    """Return the processes' CPU seconds and bytes written so far."""
    cpu = written = 0.0
    for pid in processes:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) / 100
        told = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        written += int(told["wchar"])
    return cpu, written


if __name__ == "__main__":
    harness.main(__file__, "Secure selections: time, bytes, start", measure)
